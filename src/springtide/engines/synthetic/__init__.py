"""An engine that does as it is told: for tests, load tests and trying a fleet."""
