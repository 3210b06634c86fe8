-- ARGV: now, packed {entry, ...} of the stream with all that is in them, packed {{entry, how many are in it, place, ...},
-- ...} of those acked in part, packed {id, status, ...} of the outcomes that are a job's end, packed events as
-- announce.lua takes them, to be told first, then their errors.
announce(cmsgpack.unpack(ARGV[5]), 5)

local ended, ids, buried = cmsgpack.unpack(ARGV[4]), {}, {}
for n = 1, #ended / 2 do ids[n] = ended[2 * n - 1] end
load_jobs(ids)
for n, id in ipairs(ids) do
  local job = load_job(id)
  if job then
    buried[#buried + 1], buried[#buried + 2] = now, id
    if not TERMINAL[job[STATUS]] then
      -- Alive only where the broker was emptied and refilled meanwhile: the ledger has its end, so it ends here too.
      if job[STATUS] == QUEUED then stop_waiting(job) else let_go(job) end
      close(job, ended[2 * n])
    end
  end
end
if #buried > 0 then redis.call('ZADD', TOMB, unpack(buried)) end

local whole = cmsgpack.unpack(ARGV[2])
for _, part in ipairs(cmsgpack.unpack(ARGV[3])) do
  local entry = part[1]
  local letters = redis.call('HGET', HALF, entry) or string.rep('.', part[2])
  for n = 3, #part do letters = string.sub(letters, 1, part[n]) .. 'x' .. string.sub(letters, part[n] + 2) end
  if string.find(letters, '.', 1, true) then
    redis.call('HSET', HALF, entry, letters)
  else
    redis.call('HDEL', HALF, entry)
    whole[#whole + 1] = entry
  end
end
if #whole > 0 then
  redis.call('XACK', OUT, 'recorder', unpack(whole))
  redis.call('XDEL', OUT, unpack(whole))
end
return 0
