"""The console in a Debian of its own with systemd, nginx, PgBouncer and PostgreSQL, under load.

`python -m verification.live`, what `make test-live` does. It needs root, debootstrap and systemd-nspawn.
"""
