"""The migrations: `env.py` runs the revisions in `versions/`, on PostgreSQL by way of `online.py`."""
