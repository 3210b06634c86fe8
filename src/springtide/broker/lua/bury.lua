-- ARGV: now, packed {entry, ...} of the stream, packed ids of all outcomes in them, each the result of its job. Their ends
-- are on record, and told from now on (`succeed` has written them). Returns 0, with nothing done, where an entry is not
-- there: then the broker was emptied since, and ack.lua looks at each job.
local entries, ids, buried = cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3]), {}
for _, entry in ipairs(entries) do
  local pending = redis.pcall('XPENDING', OUT, 'recorder', entry, entry, 1)
  if pending.err or #pending == 0 then return 0 end
end
for n, id in ipairs(ids) do
  buried[2 * n - 1], buried[2 * n], told[n] = ARGV[1], id, id
end
redis.call('ZADD', TOMB, unpack(buried))
redis.call('XACK', OUT, 'recorder', unpack(entries))
redis.call('XDEL', OUT, unpack(entries))
return 1
