"""Pure decisions: the figures go in, a decision with its reason comes out. No clock, no I/O."""
