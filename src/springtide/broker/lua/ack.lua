-- ARGV: now, then for each outcome: its seq, job id, status.
local replies = {}
for i = 2, #ARGV, 3 do
  local seq, id, status = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  redis.call('XACK', OUT, 'recorder', seq)
  replies[#replies + 1] = redis.call('XDEL', OUT, seq)
  local job = TERMINAL[status] and load_job(id)
  if job then
    -- Live again only where the broker was emptied and refilled meanwhile: the ledger has its end, so it ends here too.
    if job.s == QUEUED then
      stop_waiting(job)
    elseif not TERMINAL[job.s] then
      let_go(job)
    end
    redis.call('DEL', job.key)
    redis.call('HSET', job.key, 's', status, 'a', job.a, 'o', job.o)
    redis.call('ZADD', TOMB, now, id)
    redis.call('ZADD', PAST, 'NX', now, id)
  end
end
return replies
