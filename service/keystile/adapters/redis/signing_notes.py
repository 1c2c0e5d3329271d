"""Notes on signing keys in Redis: one hash, a field for each process.

Redis is not trusted: notes carry a MAC. Whoever takes notes away can bring a new key into use before some process
checks against it, which then refuses its JWTs for a while; nobody is let in by that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from keystile.changes import sign, unsign
from keystile.errors import CannotTellError
from keystile.ports import Notes
from keystile.signing_keys import NOTES_KEPT, NOTES_MOST, Noted, SigningNote

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink
    from keystile.peppers import Peppers

NAME: Final = "keystile:signing"

# ARGV: process and its signed note (empty: only read), how many ms notes are kept, how many at most. A value is the
# server's moment, then the note: ages are told by one clock. What is not written so was not put there by us.
_NOTE = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = 0
if ARGV[1] ~= '' then
  known = redis.call('HEXISTS', KEYS[1], ARGV[1])
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', now) .. ':' .. ARGV[2])
end
local stored = redis.call('HGETALL', KEYS[1])
local notes = {}
for place = 1, #stored, 2 do
  local at, text = string.match(stored[place + 1], '^(%d+):(.*)$')
  if at and tonumber(at) <= now then
    table.insert(notes, {tonumber(at), stored[place], text})
  else
    redis.call('HDEL', KEYS[1], stored[place])
  end
end
table.sort(notes, function(one, other) return one[1] > other[1] end)
local told = {known}
for place, note in ipairs(notes) do
  if place > 1 and (now - note[1] > tonumber(ARGV[3]) or place > tonumber(ARGV[4])) then
    redis.call('HDEL', KEYS[1], note[2])
  else
    table.insert(told, string.format('%d', now - note[1]))
    table.insert(told, note[3])
  end
end
return told
"""


class RedisSigningNotes:
    """The `SigningNotes` of a deployment."""

    def __init__(self, link: RedisLink, peppers: Peppers) -> None:
        self._peppers = peppers
        self._script = link.script(_NOTE)

    async def note(self, note: SigningNote) -> Notes:
        """See `SigningNotes.note`."""
        return await self._run(note.process, sign(note, self._peppers))

    async def read(self) -> Notes:
        """See `SigningNotes.read`."""
        return await self._run("", "")

    async def _run(self, process: str, text: str) -> Notes:
        answer = await self._script([NAME], process, text, int(NOTES_KEPT * 1000), NOTES_MOST)
        try:
            return self._notes(answer)
        except (ValueError, TypeError, IndexError) as error:
            raise CannotTellError("Redis answered otherwise than it was asked") from error

    def _notes(self, answer: Any) -> Notes:  # noqa: ANN401 - what Lua returned
        known, told = bool(answer[0]), answer[1:]
        texts = [text.decode(errors="replace") for text in told[1::2]]
        ages = [int(age) / 1000 for age in told[::2]]
        read = [(unsign(SigningNote, text, self._peppers), age) for text, age in zip(texts, ages, strict=True)]
        good = tuple(Noted(note, age) for note, age in read if note is not None)
        return Notes(good, known=known, dropped=len(read) - len(good))
