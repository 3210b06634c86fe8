-- ARGV: now (unused), consumer, most outcomes, lease time in ms. Returns stream entries: this reader's unacked ones,
-- then those that another reader left lying for that long (on the server's clock: a reader's silence is real time),
-- then new ones.
local consumer, limit, idle_ms = ARGV[2], tonumber(ARGV[3]), ARGV[4]

local function read(from, n)
  return redis.pcall('XREADGROUP', 'GROUP', 'recorder', consumer, 'COUNT', n, 'STREAMS', OUT, from)
end

local found = read('0', limit)
if found and found.err then  -- no such group: the first read of all, or everything was flushed
  redis.call('XGROUP', 'CREATE', OUT, 'recorder', '0', 'MKSTREAM')
  found = read('0', limit)
end

local entries = {}
local function take(list)
  for _, entry in ipairs(list) do
    if entry[2] then
      entries[#entries + 1] = entry
    else
      redis.call('XACK', OUT, 'recorder', entry[1])  -- acked by another reader after it was claimed
    end
  end
end

if found then take(found[1][2]) end
if #entries < limit then
  take(redis.call('XAUTOCLAIM', OUT, 'recorder', consumer, idle_ms, '0', 'COUNT', limit - #entries)[2])
end
if #entries < limit then
  local fresh = read('>', limit - #entries)
  if fresh then take(fresh[1][2]) end
end
return entries
