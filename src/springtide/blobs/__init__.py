"""Media in and out, by id. Bytes never pass through the ledger or the broker."""
