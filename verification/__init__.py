"""Long suites: faults, failover, fuzzing, and a world whose truth is known. `make test` runs short forms."""
