-- ARGV: now (unused), consumer, most outcomes, lease time in ms, bytes that are enough. Returns {entry, packed outcomes,
-- ...}: this reader's unacked entries, then those that another reader left lying for that long (on the server's clock: a
-- reader's silence is real time), then new ones, until there are as many outcomes or bytes as were asked for, or more.
-- Where entries were acked in part there is {packed outcomes, letters of :half or ''} in place of the packed outcomes.
local consumer, limit, idle_ms, bytes = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local function read(from)
  return redis.pcall('XREADGROUP', 'GROUP', 'recorder', consumer, 'COUNT', 1, 'STREAMS', OUT, from)
end

local replies = {}
local function take(entry)
  if entry[2] then
    limit, bytes = limit - struct.unpack('>I2', entry[2][2], 2), bytes - #entry[2][2]
    replies[#replies + 1], replies[#replies + 2] = entry[1], entry[2][2]
  else
    redis.call('XACK', OUT, 'recorder', entry[1])  -- acked by another reader after it was claimed
  end
end

local unacked, after = true, '0'
while limit > 0 and bytes > 0 do  -- one by one, for nobody knows how much is in an entry
  local found = read(unacked and after or '>')
  if found and found.err then  -- no such group: the first read of all, or everything was flushed
    redis.call('XGROUP', 'CREATE', OUT, 'recorder', '0', 'MKSTREAM')
  elseif found and #found[1][2] > 0 then
    local entry = found[1][2][1]
    take(entry)
    after = entry[1]
  elseif unacked then
    unacked = false
    local claimed = redis.call('XAUTOCLAIM', OUT, 'recorder', consumer, idle_ms, '0', 'COUNT', 10)[2]
    for _, entry in ipairs(claimed) do take(entry) end
  else
    break
  end
end

if #replies > 0 and redis.call('EXISTS', HALF) == 1 then
  local entries = {}
  for n = 1, #replies / 2 do entries[n] = replies[2 * n - 1] end
  for n, letters in ipairs(redis.call('HMGET', HALF, unpack(entries))) do
    replies[2 * n] = {replies[2 * n], letters or ''}
  end
end
return replies
