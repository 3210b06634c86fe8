"""Elastic policies: how many replicas one model should have, from a frozen view of its pool. No clock, no chance."""
