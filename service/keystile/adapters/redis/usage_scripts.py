"""The Lua scripts under the use of keys: what is there and is not ours is passed over, or makes room for what is."""

from __future__ import annotations

from keystile.usage import MOST

FULL, TRIMMED = 40, 20  # endpoints of a key and day: so many are kept, and so many are left when there are more
_MOST_FIELDS = 200

# KEYS: mark of the batch, moment since which uses are kept. ARGV: seconds the mark is kept, seconds counts are kept,
# that moment, JSON of [[name, {field: count}, {endpoint: count}], …], JSON of [[name, field, at, sealed], …].
# A use kept with a moment more than an hour ahead of the next one's was not put there by us.
ADD = f"""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local function clear(name)
  local kind = redis.call('TYPE', name).ok
  if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', name) end
end
local function count(text)
  local number = tonumber(text or '')
  return (number and number >= 0 and number <= {MOST}) and number or 0
end
local function add(name, counts)
  local any = false
  for field, more in pairs(counts) do
    local sum = math.min({MOST}, count(redis.call('HGET', name, field)) + more)
    redis.call('HSET', name, field, string.format('%.0f', sum))
    any = true
  end
  if any then redis.call('EXPIRE', name, ARGV[2]) end
end
local function trim(name)
  if redis.call('HLEN', name) <= {FULL + 1} then return end
  local held, all, others = redis.call('HGETALL', name), {{}}, 0
  for at = 1, #held, 2 do
    if held[at] == 'others' then others = others + count(held[at + 1])
    else all[#all + 1] = {{held[at], count(held[at + 1])}} end
  end
  table.sort(all, function(one, other) return one[2] > other[2] end)
  for at = {TRIMMED + 1}, #all do
    others = others + all[at][2]
    redis.call('HDEL', name, all[at][1])
  end
  redis.call('HSET', name, 'others', string.format('%.0f', math.min({MOST}, others)))
end
for _, row in ipairs(cjson.decode(ARGV[4])) do
  local endpoints = row[1] .. ':endpoints'
  clear(row[1])
  add(row[1], row[2])
  clear(endpoints)
  add(endpoints, row[3])
  trim(endpoints)
end
for _, use in ipairs(cjson.decode(ARGV[5])) do
  clear(use[1])
  local held = tonumber(string.match(redis.call('HGET', use[1], use[2]) or '', '^(%d+):') or '') or 0
  if held <= use[3] or held > use[3] + 3600 then
    redis.call('HSET', use[1], use[2], string.format('%.0f', use[3]) .. ':' .. use[4])
    redis.call('EXPIRE', use[1], ARGV[2])
  end
end
redis.call('SET', KEYS[2], ARGV[3], 'NX')
redis.call('SET', KEYS[1], '1', 'EX', ARGV[1])
return 1
"""

# KEYS: names of hashes. Returns the fields and values of each, nothing for what is no hash or no hash of ours.
READ = f"""
local found = {{}}
for at, name in ipairs(KEYS) do
  found[at] = {{}}
  if redis.call('TYPE', name).ok == 'hash' and redis.call('HLEN', name) <= {_MOST_FIELDS} then
    found[at] = redis.call('HGETALL', name)
  end
end
return found
"""

# KEYS: hash of the uses, moment since which uses are kept.
LAST = """
local uses = {false, false}
if redis.call('TYPE', KEYS[1]).ok == 'hash' then uses = redis.call('HMGET', KEYS[1], 'current', 'earlier') end
return {uses[1], uses[2], redis.call('TYPE', KEYS[2]).ok == 'string' and redis.call('GET', KEYS[2])}
"""
