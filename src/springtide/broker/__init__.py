"""The moment: queues, leases and live events. Everything here can be rebuilt from the ledger."""
