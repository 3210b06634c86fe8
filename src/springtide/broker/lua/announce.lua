-- ARGV: now (unused), then for each terminal event: id, kind, at_s, attempt, error or ''.
for i = 2, #ARGV, 5 do
  local id, at, failure = ARGV[i], ARGV[i + 2], ARGV[i + 4]
  add_event(id, ARGV[i + 1], ARGV[i + 3], at, nil, failure ~= '' and 'e' .. failure or nil)
  redis.call('ZADD', PAST, 'NX', at, id)
end
return 0
