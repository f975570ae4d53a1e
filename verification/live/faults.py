"""What is done to the installation while people work, how it is healed, and what has to hold meanwhile."""

from dataclasses import dataclass

SETTINGS = "/etc/customer-memory/environment"
SERVER = "postgresql@15-main"
PSQL = "cd / && runuser -u postgres -- psql --quiet --dbname"
HANG_UP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'console\\_%'"
RELOAD = "systemctl reload customer-memory"
RESTART = "systemctl restart customer-memory"
CHANGE = f"echo CONSOLE_TIME_ZONE=Europe/Rome >> {SETTINGS}"
SPOIL = f"sed -i 's/^CONSOLE_CUSTOMER_BADGE=.*/CONSOLE_CUSTOMER_BADGE=perhaps/' {SETTINGS}"
CORRECT = f"sed -i 's/^CONSOLE_CUSTOMER_BADGE=.*/CONSOLE_CUSTOMER_BADGE=true/' {SETTINGS}"


@dataclass(frozen=True)
class Fault:
    """A fault: two scripts for the machine, and how long it lasts in seconds."""

    name: str
    breaks: str
    heals: str = "true"
    seconds: float = 8
    unnoticed: bool = False
    """No request may fail. During any other fault /readyz has to say that the console isn't ready."""
    restarts: bool = False
    """The console's main process is another one afterwards."""
    stops_console: bool = False
    """The console can't run meanwhile: the port refuses connections, and nginx answers in its place."""


FAULTS = (
    Fault("reload", RELOAD, unnoticed=True),
    Fault("reload, new setting", f"{CHANGE}; {RELOAD}", unnoticed=True),
    Fault("restart", RESTART, unnoticed=True, restarts=True),
    Fault("restart again", RESTART, unnoticed=True, restarts=True),
    Fault("bad setting, by the book", f"{SPOIL}; ! ({RELOAD} && {RESTART})", CORRECT, unnoticed=True),
    Fault(
        "bad setting, restart",
        f"{SPOIL}; ! {RESTART}",
        f"{CORRECT}; systemctl start customer-memory",
        seconds=25,
        restarts=True,
        stops_console=True,
    ),
    Fault(
        "PostgreSQL hung",
        f"systemctl kill --signal=STOP {SERVER}",
        f"systemctl kill --signal=CONT {SERVER}",
        seconds=45,
    ),
    Fault("PostgreSQL stopped", f"systemctl stop {SERVER}", f"systemctl start {SERVER}", seconds=20),
    Fault(
        "PostgreSQL read-only",
        f"{PSQL} console -c 'ALTER DATABASE console SET default_transaction_read_only = on' -c \"{HANG_UP}\"",
        f"{PSQL} console -c 'SET default_transaction_read_only = off' "
        "-c 'ALTER DATABASE console RESET default_transaction_read_only'",
        seconds=20,
    ),
    Fault(
        "PostgreSQL's disk full",
        "dd if=/dev/zero of=/var/lib/postgresql/filler bs=64k status=none || true",
        f"rm /var/lib/postgresql/filler; systemctl start {SERVER}",
        seconds=20,
    ),
    Fault("PgBouncer stopped", "systemctl stop pgbouncer", "systemctl start pgbouncer", seconds=10),
)
