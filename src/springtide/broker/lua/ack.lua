-- ARGV: now, then for each outcome: its seq, job id, status.
local seqs, buried = {}, {}
for i = 2, #ARGV, 3 do
  local id, status = ARGV[i + 1], ARGV[i + 2]
  seqs[#seqs + 1] = ARGV[i]
  if TERMINAL[status] then
    local key = job_key(id)
    local current = redis.call('HGET', key, 's')
    if current then
      buried[#buried + 1] = now
      buried[#buried + 1] = id
    end
    if current and not TERMINAL[current] then
      -- Alive only where the broker was emptied and refilled meanwhile: the ledger has its end, so it ends here too.
      local job = load_job(id)
      if current == QUEUED then stop_waiting(job) else let_go(job) end
      redis.call('HSET', key, 's', status)
      redis.call('HDEL', key, 'k')
      spent_tickets[#spent_tickets + 1] = ticket_key(id)
    end
  end
end
redis.call('XACK', OUT, 'recorder', unpack(seqs))
redis.call('XDEL', OUT, unpack(seqs))
if #buried > 0 then redis.call('ZADD', TOMB, unpack(buried)) end
return 0
