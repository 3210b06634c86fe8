"""The process that leases and runs attempts, and the child process inside which the engine lives."""
