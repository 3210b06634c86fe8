-- ARGV: now (unused), then ids. Returns for each: status or '', attempt, owner, begun at, fraction, stage, retry at,
-- jobs ahead or ''.
local replies = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local v = redis.call('HMGET', job_key(id), 's', 'a', 'o', 'b', 'f', 'g', 'r', 'pr')
  local ahead = v[1] == QUEUED and not v[7] and ready_rank({id = id, pr = v[8]})
  local reply = {v[1] or '', v[2] or '0', v[3] or '', '', '', '', '', ahead or ''}
  if not TERMINAL[v[1]] then
    for n = 4, 7 do reply[n] = v[n] or '' end
  end
  replies[#replies + 1] = reply
end
return replies
