-- ARGV: now, error of spent attempts, then for each job: id, class, enqueued_at_s, most attempts, predicted microseconds,
-- start deadline or '', attempts begun, holder or '', ticket.
local replies = {}
for i = 3, #ARGV, 9 do
  local id, holder = ARGV[i], ARGV[i + 7]
  local job = {id = id, key = job_key(id), s = QUEUED, pr = ARGV[i + 1], q = ARGV[i + 2], mx = tonumber(ARGV[i + 3]),
               c = ARGV[i + 4], d = ARGV[i + 5], a = tonumber(ARGV[i + 6]), o = holder, b = ''}
  if redis.call('HSETNX', job.key, 's', QUEUED) == 0 then
    replies[#replies + 1] = 0
  else
    replies[#replies + 1] = 1
    redis.call('HSET', job.key, 'a', job.a, 'mx', job.mx, 'pr', job.pr, 'q', job.q, 'c', job.c, 'd', job.d, 't', ARGV[i + 8])
    add_event(id, holder == '' and 'queued' or 'started', job.a)
    if holder ~= '' then  -- rebuilding: it has one LEASE_TTL_S to say that it still runs it
      job.b = now
      redis.call('HSET', job.key, 's', IN_PROGRESS, 'o', holder, 'b', now)
      hold(job, holder)
    elseif job.a >= job.mx then
      finish(job, FAILED, {'e', ARGV[2]})
    else
      start_waiting(job)
    end
  end
end
return replies
