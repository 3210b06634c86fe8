-- ARGV: now (unused), then for each event: id, kind, at_s, attempt, fraction or '', stage or '', error or ''.
for i = 2, #ARGV, 7 do
  local id = ARGV[i]
  local last = redis.call('XREVRANGE', P .. ':e:' .. id, '+', '-', 'COUNT', 1)[1]
  if not (last and TERMINAL[last[2][2]]) then  -- nothing is ever added after a terminal event
    local extra = {}
    for n, name in ipairs({'f', 'g', 'e'}) do
      local value = ARGV[i + 3 + n]
      if value ~= '' then
        extra[#extra + 1] = name
        extra[#extra + 1] = value
      end
    end
    add_event(id, ARGV[i + 1], ARGV[i + 3], extra, ARGV[i + 2])
    redis.call('ZADD', PAST, ARGV[i + 2], id)
  end
end
return 0
