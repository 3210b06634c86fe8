-- ARGV: now, worker, error of a lost worker. Returns 1 while there is more to take back.
local worker = ARGV[2]
local ids = redis.call('SPOP', own_key(worker), 100)
load_jobs(ids)
for _, id in ipairs(ids) do
  local job = load_job(id)
  if job and job[OWNER] == worker then take_back(job, ARGV[3]) end
end
redis.call('ZREM', ALIVE, worker)
redis.call('HDEL', STATES, worker)
redis.call('DEL', cancel_key(worker))
return redis.call('EXISTS', own_key(worker))
