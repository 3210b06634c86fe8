-- ARGV: now, worker, most jobs, latest acceptance or ''. Returns {id, attempt, ticket, ...}.
local worker = ARGV[2]
promote(100)
expire(100)
local replies = {}
for _, id in ipairs(ready_pop(tonumber(ARGV[3]), ARGV[4])) do
  local job = load_job(id)
  if job then
    job.a, job.b = job.a + 1, now
    redis.call('HSET', job.key, 's', IN_PROGRESS, 'a', job.a, 'o', worker, 'b', now)
    redis.call('DECRBY', WAIT, job.c)
    if job.d ~= '' then redis.call('ZREM', DUE, id) end
    hold(job, worker)
    add_event(id, 'started', job.a)
    replies[#replies + 1] = id
    replies[#replies + 1] = job.a
    replies[#replies + 1] = redis.call('HGET', job.key, 't')
  end
end
redis.call('ZADD', ALIVE, 'GT', now, worker)
-- No more tokens than jobs (each is a worker woken for nothing), and never jobs without a token.
local ready, tokens = ready_count(), redis.call('LLEN', WAKE)
if ready == 0 then
  redis.call('DEL', WAKE)
elseif tokens > ready then
  redis.call('LTRIM', WAKE, 0, ready - 1)
elseif tokens == 0 then
  ring(1)
end
return replies
