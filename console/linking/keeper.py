"""Keeping the trail: events that wait are moved in the background while the console runs (CM-2.5)."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event, Thread

import structlog

from console.linking import audit, history

log = structlog.get_logger()

THREAD = "audit-keeper"
"""The name of the thread."""
PAUSE_SECONDS = (30.0, 60.0)
"""Between looks; at random, so that workers don't look at the same moment."""


def keep(opened: Callable[[], AbstractContextManager[object]], stop: Event) -> None:
    """Look for waiting events at once, then again and again until told to stop. Never raises."""
    while True:
        try:
            with opened():
                if history.waiting()[0]:
                    audit.drain()
        except Exception as error:  # a database that isn't ready now may be at the next look
            log.error("audit_catch_up_failed", kind=type(error).__name__)
        if stop.wait(random.uniform(*PAUSE_SECONDS)):  # noqa: S311 (no secret)
            return


def start(opened: Callable[[], AbstractContextManager[object]]) -> Event:
    """Keep the trail in its own thread; return the event that stops it. No start or stop waits for it."""
    stop = Event()
    Thread(target=keep, args=(opened, stop), name=THREAD, daemon=True).start()
    return stop
