"""Check that a database made by the migrations has the tables of the models."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Migrate a throwaway database and compare; exit with the status of the first command that fails."""
    with tempfile.TemporaryDirectory() as directory:
        environment = settings(f"sqlite:///{directory}/migrated.db")
        for command in ("upgrade", "check"):
            done = subprocess.run(
                [sys.executable, "-m", "flask", "db", command], cwd=ROOT, env=environment, check=False
            )
            if done.returncode:
                sys.exit(done.returncode)


def settings(database: str) -> dict[str, str]:
    """Return an environment in which every database of the console is the same throwaway one."""
    urls = dict.fromkeys(
        ("CONSOLE_DATABASE_URL", "CONSOLE_READ_DATABASE_URL", "CONSOLE_INGEST_DATABASE_URL"), database
    )
    return {**os.environ, **urls, "CONSOLE_SECRET_KEY": "signs nothing: no session is made here"}


if __name__ == "__main__":
    main()
