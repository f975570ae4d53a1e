"""What wraps every request: logs, error pages, headers, compression, origin checks, the guard."""

from flask import Flask

from console.config import Settings
from console.web import compression, current, errors, escaping, guard, headers, logs, origins, parsing


def init_app(app: Flask, settings: Settings) -> None:
    """Wrap every request. Call it before anything that renders templates or adds routes."""
    # No view or hook is a coroutine; Flask would check each of them at every request.
    app.ensure_sync = lambda func: func  # type: ignore[method-assign]  # which Flask says to override
    app.request_class = parsing.StrictRequest
    app.url_map.converters["id"] = guard.IdConverter
    escaping.init_app(app)
    logs.init_app(app, settings)
    origins.check_host(app, settings)
    # The hooks see an answer in the reverse order: the one that is added first sees it last.
    compression.init_app(app)
    headers.init_app(app, settings)
    errors.init_app(app)
    current.init_app(app)
