"""`make test-ha`: the console on a PostgreSQL under Patroni, its primary killed while people link."""
