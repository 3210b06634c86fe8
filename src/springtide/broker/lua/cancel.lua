-- ARGV: now, packed ids. Returns the state after of each, '' where it is not known.
local ids, replies = cmsgpack.unpack(ARGV[2]), {}
load_jobs(ids)
for n, id in ipairs(ids) do
  local job = load_job(id)
  if job and job.s == QUEUED then
    stop_waiting(job)
    finish(job, CANCELLED)
  elseif job and job.s == IN_PROGRESS then
    job.s = CANCELLING
    save(job)
    redis.call('RPUSH', cancel_key(job.o), job.id)
    add_event(job, CANCELLING, job.a, now)
  end
  replies[n] = job and job.s or ''
end
return replies
