"""Frozen values and legal transitions. No clock, no I/O, nothing that could fail for a reason outside the arguments."""
