"""The recent audit in Redis: one capped stream of sealed events, and for each key and owner a list of places in it.

Redis is not trusted: an attacker who can read it learns which key ids something happened to and when; one who can
write to it can hide events or tell them twice, and make none.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from keystile.adapters.redis.seals import Seal
from keystile.errors import CannotTellError
from keystile.peppers import Mac
from keystile.ports import EventPage, KeptEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keystile.adapters.redis.link import RedisLink, Script
    from keystile.peppers import Peppers

_STREAM = "keystile:events"
_MOST, _MOST_EACH = 100_000, 1_000
_TTL = 30 * 86_400  # seconds
_BATCH_TTL = 86_400
_PLACE = "event"
_CURSOR = re.compile(r"\d{1,16}-\d{1,16}", re.ASCII)

# A list holds the ids of a key's or owner's events in the stream, the latest first.
# KEYS: stream, mark of the batch. ARGV: most events, most in a list, seconds, seconds of the mark,
# JSON of [[sealed, [list, …]], …].
_ADD = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local function clear(name, wanted)
  local kind = redis.call('TYPE', name).ok
  if kind ~= wanted and kind ~= 'none' then redis.call('DEL', name) end
end
clear(KEYS[1], 'stream')
for _, event in ipairs(cjson.decode(ARGV[5])) do
  local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 's', event[1])
  for _, name in ipairs(event[2]) do
    clear(name, 'list')
    redis.call('LPUSH', name, id)
    redis.call('LTRIM', name, 0, ARGV[2] - 1)
    redis.call('EXPIRE', name, ARGV[3])
  end
end
local now = redis.call('TIME')
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', (now[1] - ARGV[3]) * 1000) .. '-0')
redis.call('SET', KEYS[2], '1', 'EX', ARGV[4])
return 1
"""
# KEYS: stream, list. ARGV: id before which to look or '', how many. Returns ids and sealed events, latest first.
_OF = """
local found = {}
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' or redis.call('TYPE', KEYS[2]).ok ~= 'list' then return found end
local passed = ARGV[1] == ''
for _, id in ipairs(redis.call('LRANGE', KEYS[2], 0, 999)) do
  if #found >= 2 * ARGV[2] then break end
  if passed and string.match(id, '^%d+%-%d+$') then
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    if entry then found[#found + 1] = id found[#found + 1] = entry[2][2] end
  end
  passed = passed or id == ARGV[1]
end
return found
"""
# KEYS: stream. ARGV: as above.
_LATEST = """
local found = {}
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return found end
local from = ARGV[1] == '' and '+' or '(' .. ARGV[1]
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', ARGV[2])) do
  found[#found + 1] = entry[1]
  found[#found + 1] = entry[2][2]
end
return found
"""


class RedisRecentEvents:
    """The `RecentEvents` of a deployment: 100,000 events for 30 days, 1,000 of a key or owner.

    Owners stand in it as MACs under the current pepper: after a new one, theirs are found by owner from then on only.
    *on_tampering* is told of events that were not ours.
    """

    def __init__(self, link: RedisLink, peppers: Peppers, *, on_tampering: Callable[[str], None]) -> None:
        self._seal = Seal(peppers, "events")
        self._owner_name = Mac(peppers.current.derive("events-owner"))
        self._on_tampering = on_tampering
        self._add = link.script(_ADD)
        self._of = link.script(_OF)
        self._latest = link.script(_LATEST)

    async def add(self, batch_id: str, events: Sequence[KeptEvent]) -> None:
        """Keep *events*, in one round trip."""
        rows = [(self._seal.seal(kept.to_text(), _PLACE).hex(), self._lists(kept)) for kept in events]
        keys = [_STREAM, f"keystile:events:batch:{batch_id}"]
        await self._add(keys, _MOST, _MOST_EACH, _TTL, _BATCH_TTL, json.dumps(rows))

    async def of_key(self, key_id: str, *, limit: int, before: str = "") -> EventPage:
        """Return the events that name that key."""
        page = await self._page(self._of, [_STREAM, _key_list(key_id)], limit, before)
        return EventPage(tuple(kept for kept in page.events if kept.event.key_id == key_id), page.next)

    async def of_owner(self, owner: str, *, limit: int, before: str = "") -> EventPage:
        """Return the events that name that owner."""
        page = await self._page(self._of, [_STREAM, self._owner_list(owner)], limit, before)
        return EventPage(tuple(kept for kept in page.events if kept.event.owner == owner), page.next)

    async def latest(self, *, limit: int, before: str = "") -> EventPage:
        """Return the events of everybody."""
        return await self._page(self._latest, [_STREAM], limit, before)

    async def _page(self, script: Script, keys: list[str], limit: int, before: str) -> EventPage:
        if limit < 1 or (before and not _CURSOR.fullmatch(before)):
            return EventPage(())
        found = await script(keys, before, limit + 1)  # one more tells whether there is a next page
        if not isinstance(found, list) or not all(isinstance(word, bytes) for word in found):
            raise CannotTellError("Redis answered otherwise than it was asked")
        rows = list(zip(found[::2], found[1::2], strict=False))
        opened = tuple(kept for event_id, sealed in rows[:limit] if (kept := self._open(event_id, sealed)) is not None)
        return EventPage(opened, rows[limit - 1][0].decode() if len(rows) > limit else "")

    def _open(self, event_id: bytes, sealed: bytes) -> KeptEvent | None:
        try:
            text = self._seal.open(bytes.fromhex(sealed.decode()), _PLACE)
        except ValueError:
            text = None
        if text is None:
            self._on_tampering("an event of the recent audit does not open")
            return None
        return KeptEvent.from_text(text, event_id.decode())

    def _lists(self, kept: KeptEvent) -> list[str]:
        lists = [] if kept.event.key_id is None else [_key_list(kept.event.key_id)]
        return lists if kept.event.owner is None else [*lists, self._owner_list(kept.event.owner)]

    def _owner_list(self, owner: str) -> str:
        return f"keystile:events:owner:{self._owner_name.digest(owner.encode()).hex()}"


def _key_list(key_id: str) -> str:
    return f"keystile:events:key:{key_id}"
