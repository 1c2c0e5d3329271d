"""What an operator's Prometheus sees of running servers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import httpx

from keystile.http.metrics.families import FAMILIES
from stack import KeystileServer
from stack.processes import wait_until
from unit.scraped import Scrape

if TYPE_CHECKING:
    from pathlib import Path

    from stories.keycloak_world import KeycloakWorld

PATIENCE = 30.0  # seconds
_MOST_TRIES = 50
_REFUSED = 401
_NOT_HERE = {"keystile_live_keys", "keystile_live_keys_counted_timestamp_seconds"}  # ten minutes after the start


class Caller:
    """Asks a server, each time on a new connection: whichever worker takes it."""

    def __init__(self, server: KeystileServer) -> None:
        self._http = httpx.Client(base_url=server.url, limits=httpx.Limits(max_keepalive_connections=0))

    def scrape(self) -> Scrape:
        """Scrape, again if the worker that took the connection was just killed."""
        for _ in range(_MOST_TRIES):
            try:
                return Scrape(self._http.get("/metrics").raise_for_status().text)
            except httpx.TransportError:
                continue
        raise AssertionError("nobody answers")

    def malformed(self) -> float:
        """Return how many malformed keys all workers have seen, by one scrape."""
        return self.scrape().value("keystile_verifications_total", outcome="refused", reason="malformed") or 0.0

    def has_workers(self, number: int) -> bool:
        """Tell whether so many workers tell their numbers."""
        return self.scrape().value("keystile_workers") == number

    def present(self, times: int) -> int:
        """Present a malformed key; return how often it was refused."""
        answered = 0
        for _ in range(times):
            try:
                answered += self._http.get("/sts/verify", headers={"X-API-Key": "short"}).status_code == _REFUSED
            except httpx.TransportError:
                continue
        return answered


def test_any_worker_tells_of_all_and_none_is_forgotten(tmp_path: Path) -> None:
    """Scrapes of two workers agree and never go back, even when one of them is killed and replaced."""
    environment = {"KEYSTILE_DATA_DIR": str(tmp_path / "data"), "KEYSTILE_WORKERS": "2"}
    with KeystileServer(environment, log_path=tmp_path / "keystile.log") as server:
        caller = Caller(server)
        assert wait_until(lambda: caller.has_workers(2), PATIENCE)
        presented, shown = 0, [0.0]
        for _ in range(20):
            presented += caller.present(5)
            shown.append(caller.malformed())
        assert wait_until(lambda: caller.malformed() == presented, PATIENCE)
        shown += [caller.malformed() for _ in range(10)]
        killed = server.members()[-1]  # workers are started last
        os.kill(killed.pid, signal.SIGKILL)
        shown.append(caller.malformed())
        assert wait_until(lambda: killed not in server.members() and caller.has_workers(2), PATIENCE)
        presented += caller.present(20)
        assert wait_until(lambda: caller.malformed() >= presented, PATIENCE)
        shown.append(caller.malformed())
    assert shown == sorted(shown), "a counter went back"


def test_every_metric_has_a_value_in_a_real_deployment(world: KeycloakWorld) -> None:
    """On Keycloak and Redis nothing in the table stands for something that nobody counts."""
    key = world.issue(world.add_user())
    assert world.exchange(key).status_code == 200
    world.revoke(key["key_id"])
    assert world.verify_until(key["api_key"], 401, meanwhile=(200,)).status_code == 401
    names = {name for family in FAMILIES for name in family.samples} - _NOT_HERE

    def missing() -> set[str]:
        return names - {sample.name for sample in Scrape(httpx.get(f"{world.server.url}/metrics").text).samples}

    assert wait_until(lambda: not missing(), PATIENCE), missing()
    told = Scrape(httpx.get(f"{world.server.url}/metrics").text)
    assert {sample.labels["dependency"] for sample in told.samples if sample.name == "keystile_breaker_open"} == {
        *("redis", "keycloak", "keycloak_writer")
    }
    assert (told.value("keystile_verdict_reads_total", source="directory") or 0) >= 1
    assert (told.value("keystile_dependency_seconds_count", dependency="redis") or 0) > 0
    assert (told.value("keystile_revocation_lag_seconds_count") or 0) >= 1
    assert key["key_id"] not in told.text
