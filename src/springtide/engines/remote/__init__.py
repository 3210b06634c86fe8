"""Models that run somewhere else, behind an HTTP service of their own kind."""
