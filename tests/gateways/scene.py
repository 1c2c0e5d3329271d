"""What the tests of the gateways look at: the gateways, the Keystile they ask, and the service behind them."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import jwt

from gateways.client import Client
from stack import KeystileServer
from stack.ports import free_port
from stack.proxy import Proxy
from stories.api import ADMIN_KEY, Api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateways.echo import Echo
    from gateways.programs import Gateway


ORDERS = "https://orders.example.com"
_GATES = f"""
[gates.orders]
audience = "{ORDERS}"
scopes = ["read"]
answers = "nginx"
cache = "1m"
"""


@dataclass
class Keystile:
    """One deployment on an embedded store, served once for each way of telling method and path.

    A gateway reaches its server by a wire, so that what Keystile answers can also be told.
    """

    servers: dict[str, KeystileServer]
    wires: dict[str, Proxy]
    issuer: str
    ledger: list[str] = field(default_factory=list)
    _owners: Iterator[int] = field(default_factory=count)
    _shared: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def on(cls, folder: Path) -> Iterator[Keystile]:
        """Serve it with its data in *folder*."""
        issuer = f"http://127.0.0.1:{free_port()}/sts"
        (folder / "gates.toml").write_text(_GATES)
        common = {
            "KEYSTILE_GATES": str(folder / "gates.toml"),
            "KEYSTILE_DATA_DIR": str(folder / "data"),
            "KEYSTILE_ISSUER": issuer,
            "KEYSTILE_AUDIT_LOG": str(folder / "audit.log"),
            "KEYSTILE_ADMIN_KEY": ADMIN_KEY,
            "KEYSTILE_FAILURES_PER_MINUTE": "1000",
            "KEYSTILE_TRUSTED_PROXIES": "127.0.0.1/32",
        }
        with ExitStack() as stack:
            keystile = cls({}, {}, issuer)
            for convention in ("x-forwarded", "path"):
                environment = common | {"KEYSTILE_FORWARDED_HEADERS": convention}
                server = KeystileServer(environment, log_path=folder / f"keystile-{convention}.log")
                keystile.servers[convention] = stack.enter_context(server)
                keystile.wires[convention] = stack.enter_context(Proxy(server.port))
            yield keystile

    @property
    def key(self) -> dict[str, Any]:
        """A key that may do everything, for tests that are not about keys."""
        return self.having(scopes=["read", "write"])

    def having(self, **policy: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return the one key with such a policy: every gateway's tests may use it."""
        name = json.dumps(policy)
        if name not in self._shared:
            self._shared[name] = self.issue(**policy)
        return self._shared[name]

    def issue(self, **policy: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Issue a key with such a policy."""
        return self._api.issue(owner=f"owner-{next(self._owners)}", **policy)

    def revoke(self, key: dict[str, Any]) -> None:
        """Revoke that key, at the server that all gateways but Envoy ask."""
        self._api.ask("DELETE", f"/keys/{key['key_id']}").raise_for_status()

    @property
    def _api(self) -> Api:
        return Api(self.servers["x-forwarded"].url, ADMIN_KEY, self.ledger)

    def claims(self, token: str, audience: str = "") -> dict[str, Any]:
        """Return what a JWT says, verified as any service verifies it; by default for the default audience."""
        keys = jwt.PyJWKClient(f"{self.servers['x-forwarded'].url}/sts/jwks.json")
        claims: dict[str, Any] = jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token),
            ["RS256"],
            audience=audience or f"{self.issuer}/default",
            issuer=self.issuer,
        )
        return claims


@dataclass(frozen=True)
class Scene:
    """Everything, started; *places* by the gateway's name."""

    folder: Path
    keystile: Keystile
    echo: Echo
    places: dict[str, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """One gateway with its client, and what stands behind it."""

    gateway: Gateway
    scene: Scene

    @property
    def client(self) -> Client:
        """Who asks it."""
        return Client(self.gateway.port, self.scene.echo)

    @property
    def keystile(self) -> Keystile:
        """Whom it asks."""
        return self.scene.keystile

    @property
    def wire(self) -> Proxy:
        """What it reaches Keystile by."""
        return self.keystile.wires[self.gateway.convention]

    def told(self, status: int, *headers: tuple[str, str]) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Return how Keystile tells this gateway a refusal: nginx's gate has three statuses, and one header more."""
        if self.gateway.name != "nginx":
            return status, headers
        return (status if status in (401, 403) else 403), (*headers, ("X-Auth-Status", str(status)))
