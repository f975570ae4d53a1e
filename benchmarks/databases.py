"""Databases with a data set in them: SQLite files kept under instance/bench/, a PostgreSQL thrown away."""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from flask_migrate import upgrade
from sqlalchemy.engine import URL

from benchmarks import dataset
from benchmarks.dataset import Row, Table
from console import create_app
from console.accounts.service import hash_password
from console.config import ROOT, Settings, database_url, read_only
from console.database import db
from testkit.postgres import Cluster

CACHE = ROOT / "instance" / "bench"
PARTITION = ROOT / "deploy" / "partition.sql"

_BATCH = 20_000
_TELL_SECONDS = 2
_QUICK = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000", "temp_store = MEMORY")


def settings_for(url: URL) -> Settings:
    """Return the settings of a console, the badge on, all of whose engines use one database."""
    return Settings(
        database_url=url,
        read_database_url=read_only(url),
        ingest_database_url=url,
        secret_key="signs the benchmark's sessions alone",  # noqa: S106 (as it says)
        customer_badge=True,
        whatsapp_app_secret=dataset.APP_SECRET,
    )


def sqlite_file(conversations: int) -> Path:
    """Return the file with a data set of that size, made now unless it is there."""
    path = CACHE / f"{conversations}-{_fingerprint()}.db"
    if path.is_file():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    for outdated in CACHE.glob(
        f"{conversations}-*"
    ):  # of earlier tables, or of an attempt that was cut short
        outdated.unlink()
    part = path.with_suffix(".part")
    sqlite3.connect(part).close()
    _migrate(sqlite_url(part))
    _fill_sqlite(part, conversations)
    part.rename(path)
    return path


def sqlite_copy(path: Path) -> Path:
    """Return a copy that may be written to; the copy before is gone."""
    for old in CACHE.glob("written.db*"):
        old.unlink()
    return Path(shutil.copy(path, CACHE / "written.db"))


def sqlite_url(path: Path) -> URL:
    """Return the address that the console takes."""
    return database_url(f"sqlite:///{path}")


def postgres_database(cluster: Cluster, conversations: int, *, partitioned: bool = False) -> URL:
    """Return the address of a new database with a data set of that size."""
    url = cluster.create_database()
    _migrate(url)
    if partitioned:
        cluster.execute(PARTITION.read_text(), url.database or "")
    with cluster.connect(str(url.database)) as connection:
        # References hold by the way rows are made; checking each would take most of the time.
        connection.execute("SET session_replication_role = replica")
        for table in _tables(conversations):
            copy = f"COPY {table.name} ({', '.join(table.columns)}) FROM STDIN"
            with connection.cursor() as cursor, cursor.copy(copy.encode()) as sink:
                for batch in _batches(table):
                    for row in batch:
                        sink.write_row(row)
        connection.execute("VACUUM (ANALYZE)")
    return url


def _fill_sqlite(path: Path, conversations: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in _QUICK:
        connection.execute(f"PRAGMA {pragma}")
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    connection.execute("BEGIN")
    for table in _tables(conversations):
        columns, places = ", ".join(table.columns), ", ".join("?" * len(table.columns))
        insert = f"INSERT INTO {table.name} ({columns}) VALUES ({places})"  # noqa: S608 (our own names)
        for batch in _batches(table):
            connection.executemany(insert, (tuple(map(_sqlite_value, row)) for row in batch))
    connection.execute("COMMIT")
    say(f"  {len(indexes)} indexes")
    for _, create in indexes:
        connection.execute(create)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def _sqlite_value(value: object) -> object:
    """Return what SQLAlchemy would store: moments as text without a zone."""
    return f"{value:%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, datetime) else value


def _migrate(url: URL) -> None:
    with create_app(settings_for(url)).app_context():
        upgrade()
        for engine in db.engines.values():
            engine.dispose()


def _tables(conversations: int) -> list[Table]:
    say(f"Making {conversations:,} conversations.")
    return dataset.tables(conversations, hash_password(dataset.PASSWORD))


def _batches(table: Table) -> Iterator[list[Row]]:
    rows, done, told = iter(table.rows), 0, time.monotonic()
    while batch := list(islice(rows, _BATCH)):
        yield batch
        done += len(batch)
        if time.monotonic() > told + _TELL_SECONDS or done == table.count > _BATCH:
            told = time.monotonic()
            say(f"  {table.name}: {done:,} of {table.count:,}")


def _fingerprint() -> str:
    """Return what changes when the data or the tables do."""
    sources = [Path(dataset.__file__), *sorted((ROOT / "migrations" / "versions").glob("*.py"))]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def say(message: str) -> None:
    """Tell the person what takes the time, past `quiet` as well."""
    print(message, file=sys.__stderr__, flush=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send to nowhere what the console logs: a line for each request, which it writes all the same."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield
