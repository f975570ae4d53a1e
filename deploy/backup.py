"""Make a backup, restore it beside the original, and verify the audit trail of the copy.

`python deploy/backup.py postgresql:///console DIRECTORY` as a superuser of the server; the address may name a
host and a user. `sqlite:////path/to/console.db` as the user who may read the file. A backup that can't be
restored, or whose trail can't be verified, leaves no file: exit 1.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.engine import URL, make_url

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ("CONSOLE_DATABASE_URL", "CONSOLE_READ_DATABASE_URL", "CONSOLE_INGEST_DATABASE_URL")
KEEP_DAYS = 14


def run(*command: str | Path, environ: Mapping[str, str]) -> str:
    """Run a command and return its output; a failure ends the backup with the command's own words."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def verify(url: URL) -> str:
    """Verify the trail of a copy and return what the command says of it."""
    address = url.render_as_string(hide_password=False)
    # The command signs nothing; a key of its own keeps the server's out of this script.
    environ = {**dict.fromkeys(SETTINGS, address), "CONSOLE_SECRET_KEY": os.urandom(16).hex()}
    return run(Path(sys.executable).with_name("flask"), "audit", "verify", environ=environ)


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """Give a name to write to, which becomes `path` only once the block has ended well."""
    part = path.with_suffix(f"{path.suffix}.part")
    try:
        yield part
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def back_up_postgresql(url: URL, base: Path) -> str:
    """Write BASE.roles.sql and BASE.dump; return what was verified."""
    database, copy = str(url.database), f"{url.database}_restored"
    named = {"PGHOST": url.host or url.query.get("host"), "PGUSER": url.username, "PGPASSWORD": url.password}
    server = {name: str(value) for name, value in named.items() if value}
    server |= {"PGPORT": str(url.port)} if url.port else {}

    def tool(*command: str | Path) -> None:
        run(*command, environ=server)

    with temporary(base.with_suffix(".roles.sql")) as roles, temporary(base.with_suffix(".dump")) as dump:
        tool("pg_dumpall", "--roles-only", "--file", roles)
        tool("pg_dump", "--format=custom", "--file", dump, database)
        tool("dropdb", "--if-exists", "--force", copy)
        tool("createdb", "--template=template0", copy)
        try:
            tool("pg_restore", "--exit-on-error", "--dbname", copy, dump)
            return verify(url.set(drivername="postgresql+psycopg", database=copy))
        finally:
            tool("dropdb", "--force", copy)


def back_up_sqlite(url: URL, base: Path) -> str:
    """Write BASE.db; return what was verified."""
    with temporary(base.with_suffix(".db")) as file:
        original = sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)
        with closing(original), closing(sqlite3.connect(file)) as backup:
            original.backup(backup)
        # Opening a database may write to its file, so a copy is verified.
        with TemporaryDirectory(dir=base.parent) as directory:
            copy = Path(directory) / "restored.db"
            shutil.copyfile(file, copy)
            return verify(URL.create("sqlite", database=str(copy)))


def remove_older(directory: Path, days: int) -> None:
    """Remove backups, and nothing else, that are older than so many days."""
    limit = time.time() - days * 24 * 3600
    for suffix in ("roles.sql", "dump", "db"):
        for path in directory.glob(f"console-*Z.{suffix}"):
            if path.stat().st_mtime < limit:
                path.unlink()


def main() -> None:
    """Read the command line, make one backup, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("database", type=make_url, help="postgresql:///console or sqlite:////path/to/file")
    parser.add_argument("directory", type=Path, help="where backups are kept; it has to exist")
    parser.add_argument("--keep-days", type=int, default=KEEP_DAYS, help=f"older ones go ({KEEP_DAYS})")
    options = parser.parse_args()
    os.umask(0o077)  # a backup holds password hashes and conversations
    base = options.directory.resolve() / f"console-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    kind = options.database.get_backend_name()
    try:
        made = (back_up_postgresql if kind == "postgresql" else back_up_sqlite)(options.database, base)
        remove_older(options.directory, options.keep_days)
    except (OSError, sqlite3.Error) as error:
        sys.exit(f"{options.database.render_as_string()}: {error}")
    print(f"{base}: restored and verified: {made}")


if __name__ == "__main__":
    main()
