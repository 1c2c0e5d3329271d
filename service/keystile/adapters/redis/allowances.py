"""Allowances in Redis: a counter per bucket, measure and window, changed by one script and gone by itself.

Redis is not trusted: an attacker who can write to it can at most free keys of their limits, or have them refused. The
names hold ids of keys and owners, which are public. A Redis that loses its counters lets each window begin anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystile.limits import Measure, counter_name, window_of
from keystile.ports import Allowance

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink
    from keystile.limits import Bucket, Quota

_KEPT = 3_600.0  # seconds a counter outlives its window

# KEYS: the counters. ARGV: how many are needed, how many ahead; then for each counter the most it may hold, its life
# in ms, and 1 if it counts requests. What all of them hold is read before any is written: a script that fails at a
# value nobody of us wrote has changed nothing. The share is that of `limits.share`.
_TAKE = """
local used, left, least = {}, {}, nil
local spent = false
for i, name in ipairs(KEYS) do
  local most = tonumber(ARGV[3 * i])
  used[i] = tonumber(redis.call('GET', name) or '0')
  left[i] = most - used[i]
  if left[i] < 1 then spent = true end
  if ARGV[3 * i + 2] == '1' and (not least or left[i] < least) then least = left[i] end
end
if spent then return {0, left} end
local needed, ahead = tonumber(ARGV[1]), tonumber(ARGV[2])
local granted
if least then
  granted = math.min(least, math.max(needed, math.min(ahead, math.floor(least / 10))))
else
  granted = math.max(needed, ahead)
end
for i, name in ipairs(KEYS) do
  if ARGV[3 * i + 2] == '1' then
    left[i] = left[i] - granted
    redis.call('SET', name, string.format('%d', used[i] + granted), 'PX', ARGV[3 * i + 1])
  end
end
return {granted, left}
"""

# KEYS: the counter. ARGV: the cents, its life in ms.
_CHARGE = """
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return used
"""


class RedisAllowances:
    """The `Allowances` of a deployment."""

    def __init__(self, link: RedisLink) -> None:
        self._take = link.script(_TAKE)
        self._charge = link.script(_CHARGE)

    async def take(self, bucket: Bucket, *, needed: int, ahead: int, at: float) -> Allowance:
        """See `Allowances.take`."""
        names = [_name(bucket, quota.measure, at) for quota in bucket.quotas]
        numbers = [number for quota in bucket.quotas for number in _numbers(quota, at)]
        granted, left = await self._take(names, needed, ahead, *numbers)
        return Allowance(int(granted), tuple(int(rest) for rest in left))

    async def charge(self, bucket: Bucket, *, cents: int, at: float) -> int:
        """See `Allowances.charge`."""
        most = next(quota.most for quota in bucket.quotas if quota.measure is Measure.COST)
        used = await self._charge([_name(bucket, Measure.COST, at)], cents, _life(Measure.COST, at))
        return most - int(used)


def _name(bucket: Bucket, measure: Measure, at: float) -> str:
    return f"keystile:allowance:{counter_name(bucket, measure, window_of(measure, at))}"


def _numbers(quota: Quota, at: float) -> tuple[int, int, int]:
    return quota.most, _life(quota.measure, at), int(quota.measure.counts_requests)


def _life(measure: Measure, at: float) -> int:
    return int((window_of(measure, at).ends_at - at + _KEPT) * 1000)
