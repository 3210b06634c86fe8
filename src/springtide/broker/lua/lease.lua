-- ARGV: now, worker, most jobs, latest acceptance or ''. Returns {id, attempt, ticket, ...}.
local worker = ARGV[2]
promote(100)
expire(100)
local ids = ready_pop(tonumber(ARGV[3]), ARGV[4])
local replies, seen, tickets = {}, {}, {}
for n, id in ipairs(ids) do
  tickets[n] = ticket_key(id)
  seen[2 * n - 1], seen[2 * n] = now, id
end
if #ids > 0 then
  tickets = redis.call('MGET', unpack(tickets))
  redis.call('ZADD', SEEN, unpack(seen))
  redis.call('SADD', own_key(worker), unpack(ids))
end
for n, id in ipairs(ids) do
  local key = job_key(id)
  local v = redis.call('HMGET', key, 'a', 'c', 'd')
  local attempt = tonumber(v[1]) + 1
  redis.call('HSET', key, 's', IN_PROGRESS, 'a', attempt, 'o', worker, 'b', now)
  waiting_more = waiting_more - tonumber(v[2])
  if v[3] ~= '' then redis.call('ZREM', DUE, id) end
  add_event(id, 'started', attempt, now)
  replies[3 * n - 2], replies[3 * n - 1], replies[3 * n] = id, attempt, tickets[n]
end
redis.call('ZADD', ALIVE, 'GT', now, worker)

-- No more tokens than jobs (each is a worker woken for nothing), and never jobs without a token.
local ready, tokens = ready_count(), redis.call('LLEN', WAKE)
if ready == 0 then
  redis.call('DEL', WAKE)
elseif tokens > ready then
  redis.call('LTRIM', WAKE, 0, ready - 1)
elseif tokens == 0 and woken == 0 then
  ring(1)
end
woken = math.min(woken, ready)
return replies
