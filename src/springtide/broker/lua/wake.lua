-- ARGV: now (unused), worker, 1 where it has room for work. Returns {ids to cancel}, 1 where a job may be leased.
local key = cancel_key(ARGV[2])
local cancelled = redis.call('LRANGE', key, 0, -1)
if #cancelled > 0 then redis.call('DEL', key) end
local work = 0
if ARGV[3] == '1' and has_turn() then
  work = 1
  redis.call('LPOP', WAKE)  -- this worker is awake: its token must not wake another
end
return {cancelled, work}
