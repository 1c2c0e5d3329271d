"""`make bench`: each row of the table beside what it is measured against, in one run, interleaved."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.load import Measured, Request, measure, pin
from keystile.keys import KeyFormat
from keystile.peppers import Peppers, new_pepper
from stack import KeystileServer
from stack.ports import LOOPBACK, free_port
from stack.server import Server, answers_200
from stories.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
SECONDS = 2
RESULTS = Path(__file__).with_name("results.json")
_FORM = "grant_type=client_credentials&client_id={key_id}&client_secret={api_key}"
_FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


class BareServer(Server):
    """One of the bare applications."""

    name: ClassVar[str] = "bare"
    ready_within: ClassVar[float] = 20
    stop_within: ClassVar[float] = 5

    def __init__(self, folder: Path, wanted: dict[str, Any]) -> None:
        super().__init__(None, folder / "bare.log")
        self._file = folder / f"bare-{wanted['app']}.json"
        self._file.write_text(json.dumps(wanted), encoding="utf-8")
        self._wanted = wanted

    @property
    def url(self) -> str:
        """The base of its address."""
        return f"http://{LOOPBACK}:{self.port}"

    def _environment(self) -> dict[str, str]:
        return {"BARE": str(self._file), "PYTHONPATH": str(Path(__file__).parents[1])}

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "bench.bare", str(self.port)]

    def _is_ready(self) -> bool:
        try:
            return answers_200(self.port, "/") or True
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: *wanted* is the ratio to reach."""

    what: str
    against: str
    wanted: float
    here: Callable[[], Measured]
    there: Callable[[], Measured]


def main() -> None:
    """Measure every row and write results.json."""
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        port, pepper = free_port(), new_pepper("p1")
        environment = {
            "KEYSTILE_DATA_DIR": str(folder / "data"),
            "KEYSTILE_PORT": str(port),
            "KEYSTILE_PEPPERS": pepper,
            "KEYSTILE_SIGNING_ALG": "ES256",
        }
        with KeystileServer(environment, log_path=folder / "keystile.log", port=port) as server:
            world = World(server, environment, folder)
            key = world.issue("bench")
            answer = {
                name: value for name, value in world.verify(key["api_key"]).headers.items() if name not in _GRANIANS
            }
            bare_verify = BareServer(folder, {"app": "verify", "key": key["api_key"], "answer": answer})
            bare_token = BareServer(folder, {"app": "token", "key": key["api_key"]})
            with bare_verify, bare_token:
                for each in (server, bare_verify, bare_token):
                    pin(each)
                results = [measure_row(row) for row in rows(world, key, bare_verify, bare_token, forged(key, pepper))]
    document = {"machine": platform.platform(), "rounds": ROUNDS, "seconds": SECONDS, "rows": results}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for row in results:
        sys.stdout.write(f"{row['ratio']:6.2f}  (wanted {row['wanted']})  {row['what']}  against  {row['against']}\n")


_GRANIANS = frozenset({"server", "date"})


def forged(key: dict[str, Any], pepper: str) -> str:
    """Return a well-shaped key whose stamp is wrong."""
    del pepper
    stranger = KeyFormat(Peppers.parse(new_pepper("x"))).generate("live")
    assert stranger.key_id != key["key_id"]
    return stranger.reveal()


def rows(
    world: World, key: dict[str, Any], bare_verify: BareServer, bare_token: BareServer, forged_key: str
) -> list[Row]:
    """Return the rows that need no other server."""
    server, folder = world.server, world.folder

    def verify(text: str, *, at: Server = server, url: str = world.issuer, status: int = 200) -> Measured:
        request = Request(f"{url}/verify", {"Authorization": f"Bearer {text}"}, status=status)
        return measure(at, request, folder, seconds=SECONDS)

    def token(at: Server, url: str) -> Measured:
        return measure(at, Request(url, _FORM_TYPE, _FORM.format(**key)), folder, seconds=SECONDS)

    known = key["api_key"]
    return [
        Row(
            "/sts/verify, known key",
            "bare ASGI: one HMAC, one look-up, the same bytes",
            0.75,
            lambda: verify(known),
            lambda: verify(known, at=bare_verify, url=bare_verify.url),
        ),
        Row(
            "/sts/token, fresh ES256 JWT",
            "bare ASGI: form, one HMAC, one ES256 signature",
            0.70,
            lambda: token(server, f"{world.issuer}/token"),
            lambda: token(bare_token, bare_token.url),
        ),
        Row(
            "forged new-format key",
            "/sts/verify of a known key",
            0.9,
            lambda: verify(forged_key, status=401),
            lambda: verify(known),
        ),
    ]


def measure_row(row: Row) -> dict[str, Any]:
    """Return the median ratio of interleaved rounds, with both rates."""
    pairs = [(row.here().per_cpu_second, row.there().per_cpu_second) for _ in range(ROUNDS)]
    ratios = [here / there for here, there in pairs]
    return {
        "what": row.what,
        "against": row.against,
        "wanted": row.wanted,
        "ratio": round(statistics.median(ratios), 3),
        "here_per_cpu_second": round(statistics.median(here for here, _ in pairs)),
        "there_per_cpu_second": round(statistics.median(there for _, there in pairs)),
    }


if __name__ == "__main__":
    main()
