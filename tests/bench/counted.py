"""What requests cost the servers behind Keystile, counted by those servers themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis import Redis

if TYPE_CHECKING:
    from stack import RedisServer

LOOKUP = "q=apiKeyLookup"
_MORE = 1.5  # times its idle rate that the background may speed up to, by chance
_CHANCE = 5  # commands beyond that: the background comes in bursts


@dataclass(frozen=True, slots=True)
class Commands:
    """What a Redis has done since it started: calls by command, those of scripts included, and reads of sockets."""

    at: float
    calls: dict[str, int]
    reads: int

    @classmethod
    def of(cls, server: RedisServer) -> Commands:
        """Ask *server*."""
        with Redis.from_url(server.url) as client:
            stats: dict[str, Any] = client.info("commandstats")
            reads = client.info("stats")["total_reads_processed"]
        calls = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
        return cls(time.monotonic(), calls, int(reads))

    def since(self, before: Commands) -> Spent:
        """Return what was spent between the two."""
        calls = {name: count - before.calls.get(name, 0) for name, count in self.calls.items()}
        calls = {name: count for name, count in calls.items() if count}
        return Spent(self.at - before.at, calls, self.reads - before.reads)


@dataclass(frozen=True, slots=True)
class Spent:
    """Commands and round trips within some *seconds*."""

    seconds: float
    calls: dict[str, int]
    round_trips: int

    def round_trips_beyond(self, idle: Spent) -> float:
        """Return the round trips that the background, as it was when idle, does not account for."""
        return self.round_trips - idle.round_trips * self.seconds / idle.seconds

    def check_no_more_than(self, idle: Spent) -> None:
        """Raise AssertionError unless this is the background alone: no other command, none more often."""
        for name, count in self.calls.items():
            expected = idle.calls.get(name, 0) * self.seconds / idle.seconds
            assert count <= _MORE * expected + _CHANCE, (name, count, expected)


def idle_commands(server: RedisServer, seconds: float = 3) -> Spent:
    """Return what the background spends on its own."""
    before = Commands.of(server)
    time.sleep(seconds)
    return Commands.of(server).since(before)


def lookups(requests: list[str]) -> int:
    """Count the indexed queries among the lines of Keycloak's access log."""
    return sum(LOOKUP in line for line in requests)
