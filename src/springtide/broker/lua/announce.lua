-- ARGV: now (unused), packed {id, kind, at_s, attempt, ...}, then of each terminal event its error or ''.
announce(cmsgpack.unpack(ARGV[2]), 2)
return 0
