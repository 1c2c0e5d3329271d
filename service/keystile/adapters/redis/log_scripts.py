"""What the change log does inside Redis, atomically: the Lua of `append`, `read` and `mark_polled`.

Keys: the stream, and its state, a hash: `incarnation`; `run_id` of the server that began it; `last`, the id of the
stream's last entry; `trimmed`, the id of the last entry dropped for its age; `marked`, when (server time, ms)
somebody last proved that the log can be written; `polled`, the signed poll mark behind its plain moment.
"""

from __future__ import annotations

# A state that does not fit the stream (flushed, deleted, cut, put back) or the server (restarted, failed over,
# restored) begins a new incarnation. ARGV[1] is a fresh random word: Lua's own random numbers repeat.
_ENSURE = """
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or '0-0'
local state = redis.call('HMGET', KEYS[2], 'incarnation', 'run_id', 'last', 'trimmed', 'marked', 'polled')
local incarnation, trimmed = state[1], state[4] or '0-0'
if not incarnation or state[2] ~= run_id or state[3] ~= last then
  incarnation = string.sub(run_id, 1, 8) .. '.' .. ARGV[1]
  redis.call('HSET', KEYS[2], 'incarnation', incarnation, 'run_id', run_id, 'last', last, 'trimmed', trimmed)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# ARGV: random word, signed change, retention in ms, and with a third key, the floor's: floor, its until.
# Trimming is exact, so that `trimmed` says what is missing; the entry just added always stays.
# The floor is read by pcall: a value of another type must not end the script after the change was written.
APPEND = (
    _ENSURE
    + """
last = redis.call('XADD', KEYS[1], '*', 'c', ARGV[2])
redis.call('HSET', KEYS[2], 'last', last)
local horizon = string.format('%d-0', now - ARGV[3])
local dropped = redis.call('XREVRANGE', KEYS[1], '(' .. horizon, '-', 'COUNT', 1)[1]
if dropped then
  redis.call('XTRIM', KEYS[1], 'MINID', horizon)
  redis.call('HSET', KEYS[2], 'trimmed', dropped[1])
end
local function outranks(held, new)
  for at = 1, 3 do
    if held[at] ~= new[at] then return held[at] > new[at] end
  end
  return false
end
local function rank(text)
  local dead, gen, till = string.match(text, '^(%d+):(%d+):(%d+):')
  return dead and {tonumber(dead), tonumber(gen), tonumber(till)}
end
if KEYS[3] then
  local held = redis.pcall('GET', KEYS[3])
  local held_rank = type(held) == 'string' and rank(held)
  if not held_rank or not outranks(held_rank, rank(ARGV[4])) then
    redis.call('SET', KEYS[3], ARGV[4], 'EXAT', ARGV[5])
  end
end
return {incarnation, last}
"""
)

# ARGV: random word, incarnation and id to read after (empty and 0-0: from the start), how many at most, and after
# how many ms without a mark to write one. A read that must not write (a replica, a full disk, no memory left)
# fails there, so a read that succeeds proves that a writer would have succeeded at most that long ago.
# From another incarnation, or from before what was trimmed, everything kept is told.
READ = (
    _ENSURE
    + """
local marked = tonumber(state[5])
if not marked or now < marked or now - marked >= tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[2], 'marked', string.format('%d', now))
end
local function before(one, other)
  local ms, seq = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_seq = string.match(other, '^(%d+)-(%d+)$')
  if ms ~= other_ms then return tonumber(ms) < tonumber(other_ms) end
  return tonumber(seq) < tonumber(other_seq)
end
local from = ARGV[3]
local whole = 1
if ARGV[2] ~= incarnation or before(from, trimmed) or before(last, from) then
  from = '0-0'
  whole = 0
end
local entries = redis.call('XRANGE', KEYS[1], '(' .. from, '+', 'COUNT', ARGV[4])
return {incarnation, last, whole, state[6], entries}
"""
)

# KEYS: only the state. ARGV: the moment, and the signed mark. Marks never go backwards, but for one that lies further
# ahead than two pollers can be apart: the server's clock was put right meanwhile.
MARK_POLLED = """
local held = redis.call('HGET', KEYS[1], 'polled')
local held_at = held and tonumber(string.match(held, '^([%d.]+):'))
local ahead = held_at and held_at - tonumber(ARGV[1]) or 0
if ahead > 0 and ahead < 60 then return 0 end
redis.call('HSET', KEYS[1], 'polled', ARGV[1] .. ':' .. ARGV[2])
return 1
"""
