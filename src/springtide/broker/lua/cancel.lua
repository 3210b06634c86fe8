-- ARGV: now, then ids. Returns the state after of each, '' where it is not known.
local replies = {}
for i = 2, #ARGV do
  local job = load_job(ARGV[i])
  if not job then
    replies[#replies + 1] = ''
  elseif job.s == QUEUED then
    stop_waiting(job)
    finish(job, CANCELLED)
    replies[#replies + 1] = CANCELLED
  elseif job.s == IN_PROGRESS then
    redis.call('HSET', job.key, 's', CANCELLING)
    redis.call('RPUSH', cancel_key(job.o), job.id)
    add_event(job.id, CANCELLING, job.a, now)
    replies[#replies + 1] = CANCELLING
  else
    replies[#replies + 1] = job.s
  end
end
return replies
