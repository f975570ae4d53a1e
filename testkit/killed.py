"""A migration that is killed at a given statement, for a process of its own."""

import os
import signal
from typing import Any

from flask_migrate import downgrade, upgrade
from sqlalchemy import event

from console import create_app
from console.config import Settings
from console.database import db

_HARMLESS = ("SELECT", "SET", "COMMENT")


def migrate(settings: Settings, direction: str, revision: str, survives: int) -> None:
    """Go up or down to a revision; with SIGKILL before the statement after the first `survives`."""
    with create_app(settings).app_context():
        count = 0

        def on_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            nonlocal count
            if statement.lstrip().startswith(_HARMLESS):
                return
            if count == survives:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        event.listen(db.engine, "before_cursor_execute", on_statement)
        if direction == "up":
            upgrade(revision=revision)
        else:
            downgrade(revision=revision, x_arg=["drop-audit=yes"])
