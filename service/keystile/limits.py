"""Limits: how often a key may be used, by its owner's level and by numbers of its own, in calendar windows (UTC)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from keystile.errors import ConfigurationError

if TYPE_CHECKING:
    from keystile.records import KeyRecord, Owner
    from keystile.restrictions import Policy

DEFAULT_LEVELS = "user:1000/10000/300000/1000,tenant:5000/50000/300000/5000,admin:10000/100000/300000/10000"
OWN = "key"  # how a key's own limits are called, where a level has its name
_LARGEST = 10**15 - 1  # what an integer may be in a header (RFC 9651, 3.3.1)
_LEVEL = re.compile(r"([a-z][a-z0-9_-]{0,31}):([0-9/-]+)")
_NUMBER = re.compile(r"[0-9]{1,15}")
_NO_LIMIT = "-"
_HOUR = 3_600  # seconds


class Measure(StrEnum):
    """What a quota counts: requests in an hour, a day or a month, or the cents that a month's use has cost."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    COST = "cost"

    @property
    def counts_requests(self) -> bool:
        """Tell whether requests are counted, not cents."""
        return self is not Measure.COST


@dataclass(frozen=True, slots=True)
class Quota:
    """At most so many requests or cents in each window of its measure."""

    measure: Measure
    most: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is counted together, against all of its quotas. *name* is unique, *title* is for the holder of a key."""

    name: str
    title: str
    quotas: tuple[Quota, ...]

    @property
    def has_cost(self) -> bool:
        """Tell whether cents are counted too."""
        return any(not quota.measure.counts_requests for quota in self.quotas)


@dataclass(frozen=True, slots=True)
class Window:
    """A calendar hour, day or month: its name, its length in seconds, and its end (epoch seconds)."""

    label: str
    seconds: int
    ends_at: float


def window_of(measure: Measure, at: float) -> Window:
    """Return the window in which the moment *at* (epoch seconds) lies."""
    return _window_in(measure, int(at // _HOUR))


@lru_cache(64)
def _window_in(measure: Measure, hour: int) -> Window:
    """Return the window in which that hour since the epoch lies: all of them begin with an hour."""
    moment = datetime.fromtimestamp(hour * _HOUR, UTC)
    if measure is Measure.HOUR:
        return _window(f"{moment:%Y-%m-%dT%H}", moment, moment + timedelta(hours=1))
    moment = moment.replace(hour=0)
    if measure is Measure.DAY:
        return _window(f"{moment:%Y-%m-%d}", moment, moment + timedelta(days=1))
    first = moment.replace(day=1)
    return _window(f"{first:%Y-%m}", first, (first + timedelta(days=31)).replace(day=1))


def counter_name(bucket: Bucket, measure: Measure, window: Window) -> str:
    """Return the name under which a store counts; it holds public ids only."""
    return f"{bucket.name}:{measure}:{window.label}"


def share(left: int, needed: int, ahead: int) -> int:
    """Return how much of what is *left* one process gets: what it needs, and *ahead* of that at most a tenth."""
    return min(left, max(needed, min(ahead, left // 10)))


@dataclass(frozen=True, slots=True)
class Level:
    """A named preset, shared by all keys of an owner that have it."""

    name: str
    quotas: tuple[Quota, ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of a deployment, and the one of keys that name none ("": those have none)."""

    presets: tuple[Level, ...] = ()
    default: str = ""

    @classmethod
    def parse(cls, text: str, default: str = "") -> Levels:
        """Read `name:hour/day/month/cents,…`, where `-` is no limit. Raises `ConfigurationError`."""
        presets = tuple(_parse_level(item.strip()) for item in text.split(",") if item.strip())
        names = {level.name for level in presets}
        if len(names) < len(presets) or OWN in names:
            raise ConfigurationError(f"every level has a name of its own, and none is {OWN!r}")
        if default and default not in names:
            raise ConfigurationError(f"the default level {default!r} is none of: {', '.join(sorted(names))}")
        return cls(presets, default)

    def knows(self, policy: Policy) -> bool:
        """Tell whether the level that *policy* names, if it names one, is configured."""
        return not policy.level or self._preset(policy.level) is not None

    def buckets_of(self, record: KeyRecord, owner: Owner) -> tuple[Bucket, ...]:
        """Return where a request of this key counts: none if it has no limits."""
        policy = record.policy
        if not policy.is_limited and not self.default:
            return ()  # as most keys are: asked on every exchange
        buckets = []
        level = self._preset(policy.level or self.default)
        if level is not None and level.quotas:
            buckets.append(Bucket(f"owner:{owner.id}:{level.name}", level.name, level.quotas))
        own = _quotas(
            policy.requests_per_hour, policy.requests_per_day, policy.requests_per_month, policy.cost_cents_per_month
        )
        if own:
            buckets.append(Bucket(f"key:{record.key_id}", OWN, own))
        return tuple(buckets)

    def _preset(self, name: str) -> Level | None:
        return next((level for level in self.presets if level.name == name), None) if name else None


def _window(label: str, begins: datetime, ends: datetime) -> Window:
    return Window(label, int((ends - begins).total_seconds()), ends.timestamp())


def _quotas(*most: int | None) -> tuple[Quota, ...]:
    """Return the quotas of these numbers, in the order of the measures; None is no limit."""
    return tuple(
        Quota(measure, min(number, _LARGEST))
        for measure, number in zip(Measure, most, strict=True)
        if number is not None
    )


def _parse_level(text: str) -> Level:
    match = _LEVEL.fullmatch(text)
    numbers = match[2].split("/") if match else []
    if match is None or len(numbers) != len(Measure):
        raise ConfigurationError(f"{text[:60]!r} is not like user:1000/10000/300000/1000")
    return Level(match[1], _quotas(*(_parse_number(number) for number in numbers)))


def _parse_number(text: str) -> int | None:
    if text == _NO_LIMIT:
        return None
    if not _NUMBER.fullmatch(text):
        raise ConfigurationError(f"{text[:20]!r} is not a number of at most 15 digits")
    return int(text)
