"""Health: is the process up, and can it do its work."""

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from errno import EDQUOT, EFBIG, ENOSPC
from functools import cache, partial
from typing import Any, TypeVar

import structlog
from flask import Blueprint, Flask, current_app, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection, String, column, false, select, table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from console.database import (
    command_scope,
    db,
    ingesting,
    lost_on_citus,
    missing_columns,
    reading,
    take_room,
    writing,
)
from console.ingestion import inbox
from console.models import Conversation
from console.permissions import public
from console.web.current import settings

blueprint = Blueprint("health", __name__)

log = structlog.get_logger()

FAILURES = (SQLAlchemyError, sqlite3.Error)
"""What asking a database may raise."""

# /readyz answers within two seconds, whatever the databases do.
_READY_SECONDS = 1.0
_LOCK_WAIT_MS = 500
_THREADS = 8

_REVISION = select(table("alembic_version", column("version_num", String)).c.version_num)
# Finds no row, and is refused where a write would be refused.
_COULD_WRITE = select(Conversation.id).where(false()).with_for_update()

_UPGRADE = "flask db upgrade, as the owner"
_NEVER_MIGRATED = f"was never migrated: {_UPGRADE}"
_TAKES_NO_WRITES = "takes no writes: it is a standby, or was made read-only"
_FULL = "takes no writes: its disk is full"
_NO_FILES = "takes no writes: no file can be made beside its own"
_LATE = "does not answer in time"
# By PostgreSQL's and SQLite's own codes.
_WORDS = {
    "42P01": _NEVER_MIGRATED,
    "SQLITE_ERROR": _NEVER_MIGRATED,
    "25006": _TAKES_NO_WRITES,
    "SQLITE_READONLY": _TAKES_NO_WRITES,
    "42501": "refuses the console’s role: flask database roles, as a superuser",
    "SQLITE_BUSY": "is locked by another process",
    "SQLITE_NOTADB": "is a file that is no database: move it away, then flask db upgrade",
    "53100": _FULL,
    "SQLITE_FULL": _FULL,
    "SQLITE_CANTOPEN": "is not there, or its file can’t be opened",
}

Opener = Callable[[], AbstractContextManager[Connection]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """A database: its use, its title for people, and what is wrong with it, if anything."""

    database: str
    title: str
    problem: str | None
    stops_work: bool = True


class Asking:
    """One process's questions for the databases, in threads of their own: callers wait for a limited time.

    Callers that ask the same at the same time share one question.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(_THREADS, "asking")
        self._asked: dict[str, tuple[Future[Any], float]] = {}
        self._lock = threading.Lock()

    def ask(self, questions: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
        """Return the answers, by name, that came within `seconds` of asking; raise what a question raised.

        A caller that joins a question waits only for the rest of that question's time.
        """
        with self._lock:
            for name, question in questions.items():
                if name not in self._asked or self._asked[name][0].done():
                    self._asked[name] = (self._threads.submit(self._answer, question), time.monotonic())
            asked = {name: self._asked[name] for name in questions}
        for future, asked_at in asked.values():
            wait([future], max(0, asked_at + seconds - time.monotonic()))
        return {name: future.result() for name, (future, _) in asked.items() if future.done()}

    def _answer(self, question: Callable[[], Any]) -> Any:
        with self._app.app_context():
            return question()


@blueprint.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """Say that the process is up."""
    return render_template("operations/health.html", heading="Up", checks={})


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """Say whether the databases can be used and the migrations are at head, and what is wrong if not."""
    checks, answers = look(_READY_SECONDS)
    ready = not any(check.problem for check in checks if check.stops_work)
    answer = render_template(
        "operations/health.html",
        heading="Ready" if ready else "Not ready",
        checks={check.title: check.problem for check in checks},
        last_messages=answers["last_messages"],
    )
    return answer, 200 if ready else 503


def look(
    seconds: float, questions: Mapping[str, Callable[[], Any]] | None = None
) -> tuple[list[Check], dict[str, Any]]:
    """Ask every database whether it can do what it is for; one that hasn't answered in time can't.

    Return the checks, and by name the answers that came in time to these questions and to `last_messages`:
    when each channel last brought a message.
    """
    same = settings().ingest_database_url == settings().database_url
    asked: dict[str, Callable[[], Any]] = {
        "write": partial(_problem, _write, for_writing=True),
        "read": partial(_problem, lambda: reading(command_scope())),
        **({} if same else {"ingest": partial(_problem, ingesting, for_writing=True)}),
        **({"standby": partial(_problem, db.engines["read"].connect)} if "primary" in db.engines else {}),
        "last_messages": partial(known, inbox.last_messages, "last_messages_unknown"),
        **(questions or {}),
    }
    answers = current_app.extensions["asking"].ask(asked, seconds)
    write, standby = answers.get("write", _LATE), answers.get("standby", _LATE)
    checks = [
        Check("write", "Database", write),
        Check("read", "Database for reading", answers.get("read", _LATE)),
        Check("ingest", "Database for ingestion", write if same else answers.get("ingest", _LATE)),
    ]
    if "primary" in db.engines:  # without the standby pages read the primary
        told = standby and f"{standby} (the primary is read meanwhile)"
        checks.append(Check("standby", "Standby", told, stops_work=False))
    last_messages = {} if checks[2].problem else answers.get("last_messages") or {}
    return checks, {**answers, "last_messages": last_messages}


def known(question: Callable[[], T], event: str) -> T | None:
    """Return the answer to a question; None where a database can't tell, which is logged as this event."""
    try:
        return question()
    except FAILURES as error:
        log.error(event, kind=type(error).__name__)
        return None


def _write() -> AbstractContextManager[Connection]:
    return writing(command_scope(), wait_ms=_LOCK_WAIT_MS)


def _problem(opened: Opener, *, for_writing: bool = False) -> str | None:
    head, *older = _revisions(current_app.extensions["migrate"].directory)
    try:
        with opened() as connection:
            revision = connection.execute(_REVISION).scalar()
            if revision == head:
                if missing := missing_columns(connection):
                    return f"lacks {missing[0]}, though it says that it is at {head}: see docs/operations.md"
                if lost := lost_on_citus(connection):
                    return lost
                if for_writing:
                    connection.execute(_COULD_WRITE)
                    take_room(connection)
                return None
    except FAILURES as error:
        return _in_words(error.orig if isinstance(error, DBAPIError) else error)
    except OSError as error:
        return _FULL if error.errno in (ENOSPC, EDQUOT, EFBIG) else _NO_FILES
    if revision is None:
        return _NEVER_MIGRATED
    advice = _UPGRADE if revision in older else "it belongs to a newer console"
    return f"is at {revision}, not at {head}: {advice}"


def lost_guarantee(app: Flask) -> str | None:
    """Return in one line which guarantee the database would silently lose, to be printed at startup.

    None where the database doesn't answer: the console starts, and /readyz asks again.
    """
    with app.app_context():
        lost = current_app.extensions["asking"].ask({"lost": _lost}, _READY_SECONDS).get("lost")
    return f"CONSOLE_DATABASE_URL: {lost} (docs/operations.md, More than one machine)" if lost else None


def _lost() -> str | None:
    try:
        with _write() as connection:
            return lost_on_citus(connection)
    except FAILURES as error:
        log.warning("guarantees_unknown", kind=type(error).__name__)
        return None


def _in_words(error: object) -> str:
    """Say what is wrong by the database's own code, without its text, which may quote anything."""
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
    if code is None:
        return "does not answer, or does not let the console in"
    # SQLITE_READONLY_DIRECTORY and the like are kinds of SQLITE_READONLY.
    return _WORDS.get("_".join(code.split("_")[:2]), f"fails with {code}")


@cache
def _revisions(directory: str) -> list[str]:
    from alembic.script import ScriptDirectory  # slow to import, and most requests don't need it

    return [script.revision for script in ScriptDirectory(directory).walk_revisions()]
