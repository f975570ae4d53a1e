"""Check with squawk that `flask db upgrade` blocks no writer on PostgreSQL: `-m scripts.check_online`.

The SQL is what a real upgrade of a throwaway server runs, after which models have to equal its tables.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from flask_migrate import check, upgrade
from sqlalchemy import event

from console import create_app
from console.config import Settings
from console.database import db
from testkit import postgres

SQUAWK = Path(sys.prefix) / "bin" / "squawk"
SERVER_VERSION = "15"
"""The oldest PostgreSQL that the console is tested on."""

# Rules of squawk that are not kept, and why.
EXCLUDED = {
    "ban-alter-identity": "0008_audit_positions: a trigger gives the position before the identity goes",
    "ban-drop-constraint": "0011 to 0014: a key takes the place of another in one statement, and a foreign"
    " key is there before the one that it replaces goes",
    "ban-char-field": "a digest has 64 characters, never more or fewer",
    "prefer-bigint-over-int": "link_version and sequence count the link writes of one conversation",
    "prefer-robust-stmts": "migrations/online.py looks before it adds a constraint, which knows no IF NOT"
    " EXISTS; tests/test_online_migrations.py kills the upgrade before each statement and runs it again",
}


def upgrade_recorded() -> list[str]:
    """Upgrade a throwaway database; return the statements that change something, in their order."""
    statements: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # Alembic's own table is not ours to check.
        if not statement.strip().startswith("SELECT") and "alembic_version" not in statement:
            statements.append(statement.strip())

    with postgres.cluster() as server:
        url = server.create_database()
        key = "signs nothing: there is no sign-in"
        settings = Settings(database_url=url, read_database_url=url, ingest_database_url=url, secret_key=key)
        with create_app(settings).app_context():
            event.listen(db.engine, "before_cursor_execute", record)
            upgrade()
            event.remove(db.engine, "before_cursor_execute", record)
            check()
    return statements


def main() -> None:
    """Exit with squawk's status."""
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "upgrade.sql"
        script.write_text("".join(f"{statement};\n" for statement in upgrade_recorded()))
        options = (f"--pg-version={SERVER_VERSION}", f"--exclude={','.join(EXCLUDED)}")
        sys.exit(subprocess.run([SQUAWK, *options, script], check=False).returncode)


if __name__ == "__main__":
    main()
