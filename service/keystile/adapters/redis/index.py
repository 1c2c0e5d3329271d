"""The fallback index in Redis: names are HMACs, values are sealed, and the mark of a finished crawl is signed.

Redis is not trusted: entries are hints, read again and proved before they count. An attacker who can write to it
can at most hide a key that no look-up value names.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keystile.adapters.redis.seals import seal, unseal
from keystile.ports import IndexEntry, IndexState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keystile.adapters.redis.link import RedisLink
    from keystile.peppers import Peppers

_STATE = "keystile:index:state"
_GENERATIONS = "keystile:index:generations"
_MAC = 32
_TAG = 16
_AT_ONCE = 200  # entries per script call: some 60 KB, well within the deadline

# A field of the named hash holds the sealed entries of one name, a line each, behind a tag that tells them apart
# unopened; a field of the unnamed one holds one entry under its tag.
# KEYS: named, unnamed, set of generations. ARGV: generation, then name (or empty), tag, sealed entry, repeated.
_ADD = """
redis.call('SADD', KEYS[3], ARGV[1])
for at = 2, #ARGV, 3 do
  local name, tag, sealed = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if name == '' then
    redis.call('HSETNX', KEYS[2], tag, sealed)
  else
    local held = redis.call('HGET', KEYS[1], name) or ''
    if not string.find('\\n' .. held, '\\n' .. tag, 1, true) then
      redis.call('HSET', KEYS[1], name, held .. tag .. sealed .. '\\n')
    end
  end
end
"""
# KEYS: state, set of generations. ARGV: state, generation, what the hashes' names begin and end with.
_FINISH = """
redis.call('SET', KEYS[1], ARGV[1])
for _, generation in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if generation ~= ARGV[2] then
    redis.call('UNLINK', ARGV[3] .. generation .. ARGV[4], ARGV[3] .. generation .. ARGV[5])
    redis.call('SREM', KEYS[2], generation)
  end
end
"""
_PREFIX, _NAMED, _UNNAMED = "keystile:index:", ":named", ":unnamed"


class RedisIndexStore:
    """The `IndexStore` of a deployment, under the current pepper: a new pepper means a new crawl."""

    def __init__(self, link: RedisLink, peppers: Peppers) -> None:
        self._link = link
        self._mac = peppers.current.index
        self._seal = AESGCM(self._mac.digest(b"seal"))
        self._add = link.script(_ADD)
        self._finish = link.script(_FINISH)

    async def state(self) -> IndexState | None:
        """Return the last finished crawl whose mark is ours."""
        stored = await self._link.command("GET", _STATE) or b""
        mac, text = stored[:_MAC], stored[_MAC:]
        if not secrets.compare_digest(mac, self._mac.digest(b"state:" + text)):
            return None
        return IndexState(**json.loads(text))

    async def finish(self, state: IndexState) -> None:
        """Make *state* the finished crawl, and drop other generations."""
        text = json.dumps(asdict(state)).encode()
        signed = self._mac.digest(b"state:" + text) + text
        await self._finish([_STATE, _GENERATIONS], signed, state.generation, _PREFIX, _NAMED, _UNNAMED)

    async def add(self, generation: str, entries: Sequence[IndexEntry]) -> None:
        """Add entries, a bounded number in each round trip."""
        keys = [_PREFIX + generation + _NAMED, _PREFIX + generation + _UNNAMED, _GENERATIONS]
        for start in range(0, len(entries), _AT_ONCE):
            some = entries[start : start + _AT_ONCE]
            await self._add(keys, generation, *(word for entry in some for word in self._words(generation, entry)))

    async def named(self, generation: str, names: Sequence[bytes]) -> tuple[IndexEntry, ...]:
        """Return the entries of any of these names that open."""
        if not names:
            return ()
        wanted = list(dict.fromkeys(names))
        values = await self._link.command("HMGET", _PREFIX + generation + _NAMED, *(name.hex() for name in wanted))
        lines = [(name, line[_TAG:]) for name, value in zip(wanted, values, strict=True) for line in _lines(value)]
        return self._opened(generation, lines)

    async def unnamed(self, generation: str, limit: int) -> tuple[IndexEntry, ...]:
        """Return up to *limit* entries without a name that open, in no particular order."""
        name = _PREFIX + generation + _UNNAMED
        values = await self._link.command("HRANDFIELD", name, limit, "WITHVALUES")
        return self._opened(generation, [(None, value) for value in values[1::2]])

    def _words(self, generation: str, entry: IndexEntry) -> tuple[str, str, str]:
        text = json.dumps([entry.owner_id, entry.key_id, entry.bcrypt]).encode()
        sealed = seal(self._seal, text, _associated(generation, entry.name))
        tag = self._mac.digest(b"entry:" + text).hex()[:_TAG]
        return entry.name.hex() if entry.name is not None else "", tag, sealed.hex()

    def _opened(self, generation: str, found: Iterable[tuple[bytes | None, bytes]]) -> tuple[IndexEntry, ...]:
        entries = (self._open(generation, name, sealed) for name, sealed in found)
        return tuple(entry for entry in entries if entry is not None)

    def _open(self, generation: str, name: bytes | None, stored: bytes) -> IndexEntry | None:
        try:
            text = unseal(self._seal, bytes.fromhex(stored.decode()), _associated(generation, name))
        except (InvalidTag, ValueError):
            return None
        owner_id, key_id, hashed = json.loads(text)
        return IndexEntry(owner_id, key_id, name, hashed)


def _lines(value: bytes | None) -> list[bytes]:
    return (value or b"").split(b"\n")[:-1]


def _associated(generation: str, name: bytes | None) -> bytes:
    return generation.encode() + b":" + (name.hex().encode() if name is not None else b"")
