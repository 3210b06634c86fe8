-- ARGV: now, packed ids. Returns the state after of each, '' where it is not known.
local ids, replies = cmsgpack.unpack(ARGV[2]), {}
load_jobs(ids)
for n, id in ipairs(ids) do
  local job = load_job(id)
  if job and job[STATUS] == QUEUED then
    stop_waiting(job)
    finish(job, CANCELLED)
  elseif job and job[STATUS] == IN_PROGRESS then
    job[STATUS] = CANCELLING
    save(job)
    redis.call('RPUSH', cancel_key(job[OWNER]), job[ID])
    add_event(job, CANCELLING, job[ATTEMPT], now)
  end
  replies[n] = job and job[STATUS] or ''
end
return replies
