-- Remembers owners of one endpoint and replaces its mark: all of it, or nothing when another mark stands there. A script runs
-- alone, and what it wrote reaches replicas and the append-only file as one transaction.
-- KEYS: mark, every layer of the filter, shelves of owners
-- ARGV: mark that must stand, mark to be, how many layers, which of them gets the bits, length of the last layer if it is new (or 0),
--       bits (4 bytes each), milliseconds to keep mark and filter, milliseconds to keep a shelf, then shelf, id, owner; ...
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
local layers, new = tonumber(ARGV[3]), tonumber(ARGV[5])
for layer = 1, layers do
  if not (layer == layers and new > 0) and redis.call('EXISTS', KEYS[1 + layer]) == 0 then
    -- It was evicted: what the mark says is not true any more.
    redis.call('DEL', KEYS[1])
    return 0
  end
end
if new > 0 then
  redis.call('SETRANGE', KEYS[1 + layers], new - 1, '\0')
end
local filter, bits = KEYS[1 + tonumber(ARGV[4])], ARGV[6]
for at = 1, #bits, 4 do
  local bit = struct.unpack('>I4', bits, at)
  redis.call('SETBIT', filter, bit, 1)
end
for at = 9, #ARGV, 3 do
  redis.call('HSET', KEYS[1 + layers + tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
end
for shelf = 2 + layers, #KEYS do
  if redis.call('PTTL', KEYS[shelf]) == -1 then
    redis.call('PEXPIRE', KEYS[shelf], ARGV[8])
  end
end
for layer = 1, layers do
  redis.call('PEXPIRE', KEYS[1 + layer], ARGV[7])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[7])
return 1
