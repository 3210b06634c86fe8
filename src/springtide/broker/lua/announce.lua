-- ARGV: now (unused), then for each terminal event: id, kind, at_s, attempt, error or ''.
local past = {}
for i = 2, #ARGV, 5 do
  local id, at, failure = ARGV[i], ARGV[i + 2], ARGV[i + 4]
  add_event(id, ARGV[i + 1], ARGV[i + 3], at, nil, failure ~= '' and 'e' .. failure or nil)
  past[#past + 1], past[#past + 2] = at, id
end
if #past > 0 then redis.call('ZADD', PAST, 'NX', unpack(past)) end
return 0
