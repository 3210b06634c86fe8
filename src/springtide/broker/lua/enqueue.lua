-- ARGV: now, error of spent attempts, then for each job: id, class, enqueued_at_s, most attempts, predicted
-- microseconds, start deadline or '', attempts begun, holder or '', when it began or '', tenant,
-- checkpoint or '', ticket. Returns 1 for each that is new.
local replies = {}
for i = 3, #ARGV, 12 do
  local id, holder = ARGV[i], ARGV[i + 7]
  local job = {id = id, key = job_key(id), pr = ARGV[i + 1], q = ARGV[i + 2], mx = tonumber(ARGV[i + 3]),
               c = ARGV[i + 4], d = ARGV[i + 5], a = tonumber(ARGV[i + 6]), o = holder, b = '', t = ARGV[i + 9],
               k = ARGV[i + 10] ~= '' and ARGV[i + 10] or nil}
  local known = redis.call('EXISTS', job.key, event_key(id))
  if known > 0 and redis.call('EXISTS', job.key) == 1 then
    replies[#replies + 1] = 0
  else
    replies[#replies + 1] = 1
    redis.call('HSET', job.key, 's', QUEUED, 'a', ARGV[i + 6], 'mx', ARGV[i + 3], 'pr', job.pr, 'q', job.q,
               'c', job.c, 'd', job.d, 't', job.t)
    if job.k then redis.call('HSET', job.key, 'k', job.k) end
    redis.call('SET', ticket_key(id), ARGV[i + 11])
    if holder ~= '' then  -- rebuilding: it has one lease time to say that it still runs it
      local began = ARGV[i + 8] ~= '' and ARGV[i + 8] or now
      redis.call('HSET', job.key, 's', IN_PROGRESS, 'o', holder, 'b', began)
      redis.call('ZADD', SEEN, now, id)
      redis.call('SADD', own_key(holder), id)
      count_running(job.t, 1)
      add_event(id, 'started', job.a, began)
    else
      add_event(id, QUEUED, job.a, now, nil, nil, known == 0)
      if job.a >= job.mx then
        finish(job, FAILED, 'e', ARGV[2])
      else
        start_waiting(job)
      end
    end
  end
end
return replies
