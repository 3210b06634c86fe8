"""HTTP out to addresses that callers name, under guard: the one way by which a caller's URL is ever followed."""
