-- ARGV: now (unused), then for each terminal event: id, kind, at_s, attempt, error or ''.
for i = 2, #ARGV, 5 do
  local id, kind, at, attempt, failure = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local told = false
  if redis.call('ZADD', PAST, 'NX', at, id) == 0 then  -- ended before: told already, unless only forgotten to be told
    local last = redis.call('XREVRANGE', P .. ':e:' .. id, '+', '-', 'COUNT', 1)[1]
    told = last and TERMINAL[last[2][2]]
  end
  if not told then
    if failure ~= '' then
      add_event(id, kind, attempt, at, 'e', failure)
    else
      add_event(id, kind, attempt, at)
    end
  end
end
return 0
