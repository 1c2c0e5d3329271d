"""The management API of a story's server, as its clients use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from keycloak import KeycloakOpenID

if TYPE_CHECKING:
    from stories.keycloak_world import KeycloakWorld

CONSOLE = "story-console"
PASSWORD = "correct horse battery staple"
ADMIN_KEY = "story-admin-key-of-more-than-32-characters"


@dataclass(frozen=True)
class Api:
    """The API as one caller sees it; *ledger* gets every key that is handed out."""

    url: str
    credential: str
    ledger: list[str]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:  # noqa: ANN401 - JSON
        """Send one request."""
        answer = httpx.request(
            method,
            f"{self.url}/sts/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.credential}", **headers},
            timeout=20,
        )
        if answer.status_code < 300 and answer.content and "api_key" in answer.json():
            self.ledger.append(answer.json()["api_key"])
        return answer

    def issue(self, name: str = "laptop", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Issue a key."""
        answer = self.ask("POST", "/keys", {"name": name, **fields})
        assert answer.status_code == 201, answer.text
        issued: dict[str, Any] = answer.json()
        return issued


def by_admin_key(world: KeycloakWorld) -> Api:
    """Return the API for the bootstrap admin key."""
    return Api(world.server.url, ADMIN_KEY, world.ledger)


def signed_in(world: KeycloakWorld, username: str) -> Api:
    """Return the API for a user of the realm who signs in by the console."""
    realm = KeycloakOpenID(f"{world.keycloak.url}/", world.environment["KEYSTILE_KEYCLOAK_REALM"], CONSOLE)
    token = realm.token(username, PASSWORD)["access_token"]
    return Api(world.server.url, token, world.ledger)
