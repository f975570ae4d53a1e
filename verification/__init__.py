"""Long suites: faults, failover, fuzzing, an installation by the book, and a world whose truth is known. `make test` runs short forms."""
