"""Logs and timings: one JSON line on stderr and one observation per request.

No line contains what a customer or an operator wrote: no number, message, name, reason or cookie. An
exception is logged by its kind and the places it passed, because its text may quote anything. Of a library's
line only the template is kept (docs/decisions/0023).
"""

import contextlib
import logging
import re
import sys
import time
import traceback
from typing import Any

import structlog
from flask import Flask, Response, g, has_request_context, request
from prometheus_client import Histogram
from structlog.typing import EventDict, Processor, WrappedLogger

from console.config import Settings
from console.database import new_id

log = structlog.get_logger()

_requests = Histogram(
    "console_request_seconds",
    "Time to answer.",
    ["method", "route", "status"],
    # The first are for pages that only read, the last for pages that wait for a lock.
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_REQUEST_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# The methods of our routes; a client can invent others.
_METHODS = {"GET", "HEAD", "OPTIONS", "POST"}
_MAX_CAUSES = 10


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """A handler that writes each line to what `sys.stderr` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Lines(structlog.PrintLogger):
    """Write lines while possible: a full disk must not fail a request (docs/decisions/0015)."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warning = error = critical = exception = msg


def init_app(app: Flask, settings: Settings) -> None:
    """Send every log line, ours and the libraries', to stderr as JSON."""
    threshold = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Lines(sys.stderr),
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _name_failed_request, *_SHARED],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            use_get_message=False,
        )
    )
    logging.raiseExceptions = False  # it would write the arguments of a line that can't be written to stderr
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler], force=True)

    @app.before_request
    def start() -> None:
        asked = request.headers.get("X-Request-Id", "") if settings.trusted_proxies else ""
        g.request_id = asked if _REQUEST_ID.fullmatch(asked) else str(new_id())
        g.started = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        if "request_id" in g:
            response.headers["X-Request-Id"] = g.request_id
            seconds = time.perf_counter() - g.started
            told = {"method": _method(), "route": _route(), "status": response.status_code}
            _requests.labels(*told.values()).observe(seconds)
            log.info("request", **told, milliseconds=round(seconds * 1000, 1))
        return response


def _method() -> str:
    """Return the request's method where it is one of our routes', else `other`."""
    return request.method if request.method in _METHODS else "other"


def _route() -> str:
    """Return the rule of the request's route, with nothing of its address; `none` where there is no route."""
    return request.url_rule.rule if request.url_rule else "none"


def _name_failed_request(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Replace the address in Flask's line about a failed request with the route."""
    if event["logger"] == "console" and has_request_context():
        event.update(event="request_failed", method=_method(), route=_route())
    return event


def _describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace an exception with its kinds and places."""
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    elif given and not isinstance(given, BaseException):
        given = sys.exc_info()[1]
    if given:
        event["exceptions"] = list(_causes(given))
    return event


def _causes(error: BaseException | None) -> list[dict[str, Any]]:
    causes: list[dict[str, Any]] = []
    while error and len(causes) < _MAX_CAUSES:
        cause: dict[str, Any] = {"kind": type(error).__qualname__}
        # The databases' own error codes quote nothing.
        if code := getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None):
            cause["code"] = code
        frames = traceback.extract_tb(error.__traceback__)
        causes.append({**cause, "places": [f"{it.filename}:{it.lineno} {it.name}" for it in frames]})
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return causes


def _name_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the ids of the request and of the signed-in user, as far as they are known."""
    if has_request_context():
        for name in ("user_id", "request_id"):
            if name in g:
                event.setdefault(name, g.get(name))
    return event


_SHARED: list[Processor] = [
    _name_request,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _describe_exception,
]
