"""Processes that kill themselves at a boundary: before or after a statement or a commit."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlalchemy import event

from console.database import db


@dataclass(frozen=True)
class Run:
    """What became of a process."""

    killed: bool
    answer: str | None
    boundaries: int
    failure: str | None = None


class Boundaries:
    """Counts the boundaries that this process reaches, and kills it at one."""

    def __init__(self, die_at: int | None) -> None:
        self.die_at = die_at
        self.count = 0

    def watch(self) -> None:
        """Count every statement and commit of the engine that writes."""
        engine = db.engine
        for moment in ("before", "after"):
            event.listen(engine, f"{moment}_cursor_execute", lambda *_: self.reach())
        commit = engine.dialect.do_commit

        def do_commit(connection: Any) -> None:
            self.reach()
            commit(connection)
            self.reach()

        # SQLAlchemy has no event for a commit that is done.
        engine.dialect.do_commit = do_commit  # type: ignore[assignment,method-assign]  # bound by the closure

    def reach(self) -> None:
        """Pass a boundary, or die there."""
        self.count += 1
        if self.die_at == self.count:
            os.kill(os.getpid(), signal.SIGKILL)


def run(act: Callable[[], object], die_at: int | None = None) -> Run:
    """Do something in a process of its own, which may die of it; it inherits no connection."""
    for engine in db.engines.values():
        engine.dispose()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(act, die_at, write)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return Run(**{"killed": killed, "answer": None, "boundaries": 0, **(json.loads(told) if told else {})})


def _child(act: Callable[[], object], die_at: int | None, write: int) -> NoReturn:
    boundaries = Boundaries(die_at)
    boundaries.watch()
    told: dict[str, object]
    try:
        told = {"answer": str(act())}
        boundaries.reach()
    except Exception:
        told = {"failure": traceback.format_exc()}
    os.write(write, json.dumps({**told, "boundaries": boundaries.count}).encode())
    os._exit(0)
