"""Contract suites and real servers, for our tests and for those who write a broker, ledger, blob store or engine."""
