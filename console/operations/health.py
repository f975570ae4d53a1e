"""Health: is the process up, and can it do its work."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from alembic.script import ScriptDirectory
from flask import Blueprint, current_app, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection, String, column, false, select, table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from console.config import Settings
from console.database import db, ingesting, reading, writing
from console.ingestion import service as ingestion
from console.models import Conversation
from console.permissions import public

blueprint = Blueprint("health", __name__)

log = structlog.get_logger()

FAILURES = (SQLAlchemyError, sqlite3.Error)
"""What asking a database may raise."""

# Whoever asks for health waits no longer than this for a lock.
_WAIT_MS = 2000

_REVISION = select(table("alembic_version", column("version_num", String)).c.version_num)
# Finds nothing, and is refused all the same where a write would be.
_COULD_WRITE = select(Conversation.id).where(false()).with_for_update()

_NEVER_MIGRATED = "was never migrated: flask db upgrade"
_TAKES_NO_WRITES = "takes no writes: it is a standby, or was made read-only"
# By PostgreSQL's and SQLite's own codes.
_WORDS = {
    "42P01": _NEVER_MIGRATED,
    "SQLITE_ERROR": _NEVER_MIGRATED,
    "25006": _TAKES_NO_WRITES,
    "SQLITE_READONLY": _TAKES_NO_WRITES,
    "42501": "refuses the console’s role: flask database roles",
    "SQLITE_BUSY": "is locked by another process",
    "SQLITE_NOTADB": "is a file that is no database: move it away, then flask db upgrade",
    "SQLITE_CANTOPEN": "is not there, or its file can’t be opened",
}

Opener = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class Check:
    """A database by what it is for, as people read it, and what is wrong with it, if anything."""

    database: str
    title: str
    problem: str | None
    stops_work: bool = True


@blueprint.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """Say that the process is up."""
    return render_template("operations/health.html", heading="Up", checks={})


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """Say whether the databases can be used and the migrations are at head, and what is wrong if not."""
    found = checks()
    ready = not any(one.problem for one in found if one.stops_work)
    answer = render_template(
        "operations/health.html",
        heading="Ready" if ready else "Not ready",
        checks={one.title: one.problem for one in found},
        last_messages=last_messages(found),
    )
    return answer, 200 if ready else 503


def last_messages(found: list[Check]) -> dict[str, datetime]:
    """Return when each channel last brought a message; nothing where ingestion's database can't tell."""
    if any(check.problem for check in found if check.database == "ingest"):
        return {}
    try:
        return ingestion.last_messages()
    except FAILURES as error:
        log.error("last_messages_unknown", kind=type(error).__name__)
        return {}


def checks() -> list[Check]:
    """Ask every database whether it can do what it is for."""
    settings: Settings = current_app.config["CONSOLE"]
    head = _scripts().get_current_head() or ""
    write = _problem(partial(writing, wait_ms=_WAIT_MS), head, for_writing=True)
    same = settings.ingest_database_url == settings.database_url
    ingest = write if same else _problem(ingesting, head, for_writing=True)
    return [
        Check("write", "Database", write),
        Check("read", "Database for reading", _problem(reading, head)),
        Check("ingest", "Database for ingestion", ingest),
        *_standby(head),
    ]


def _standby(head: str) -> Iterator[Check]:
    """Ask the standby, where reading has one: without it pages read the primary, so it stops no work."""
    if "primary" in db.engines:
        problem = _problem(db.engines["read"].connect, head)
        told = problem and f"{problem} (the primary is read meanwhile)"
        yield Check("standby", "Standby", told, stops_work=False)


def _problem(opened: Opener, head: str, *, for_writing: bool = False) -> str | None:
    try:
        with opened() as connection:
            revision = connection.execute(_REVISION).scalar()
            if revision == head:
                if for_writing:
                    connection.execute(_COULD_WRITE)
                return None
    except FAILURES as error:
        return _in_words(error.orig if isinstance(error, DBAPIError) else error)
    if revision is None:
        return _NEVER_MIGRATED
    known = revision in {script.revision for script in _scripts().walk_revisions()}
    return f"is at {revision}, not at {head}: " + (
        "flask db upgrade" if known else "it belongs to a newer console"
    )


def _in_words(error: object) -> str:
    """Say what is wrong by the database's own code; its text stays out, as may whatever it quotes."""
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
    if code is None:
        return "does not answer, or does not let the console in"
    # SQLITE_READONLY_DIRECTORY and the like are kinds of SQLITE_READONLY.
    return _WORDS.get("_".join(code.split("_")[:2]), f"fails with {code}")


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(current_app.extensions["migrate"].directory)
