"""Health: is the process up, and can it do its work."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager

from alembic.script import ScriptDirectory
from flask import Blueprint, current_app, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection, String, column, select, table
from sqlalchemy.exc import SQLAlchemyError

from console.database import ingesting, reading, writing
from console.permissions import public

blueprint = Blueprint("health", __name__)

_REVISION = select(table("alembic_version", column("version_num", String)).c.version_num)


@blueprint.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """Say that the process is up."""
    return render_template("operations/health.html", heading="Up", checks={})


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """Say whether the databases answer and the migrations are at head, and what is wrong if not."""
    head = _scripts().get_current_head() or ""
    opened = {"Database": writing, "Database for reading": reading, "Database for ingestion": ingesting}
    checks = {name: _problem(open_connection, head) for name, open_connection in opened.items()}
    ready = not any(checks.values())
    heading = "Ready" if ready else "Not ready"
    return render_template("operations/health.html", heading=heading, checks=checks), 200 if ready else 503


def _problem(open_connection: Callable[[], AbstractContextManager[Connection]], head: str) -> str | None:
    try:
        with open_connection() as connection:
            revision = connection.execute(_REVISION).scalar()
    except (SQLAlchemyError, sqlite3.Error):
        return "does not answer, or was never migrated: flask db upgrade"
    if revision == head:
        return None
    known = revision in {script.revision for script in _scripts().walk_revisions()}
    return f"is at {revision}, not at {head}: " + (
        "flask db upgrade" if known else "it belongs to a newer console"
    )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(current_app.extensions["migrate"].directory)
