"""What tests, verification suites and benchmarks share: databases, factories, pages, PostgreSQL, fixtures."""
