"""What a request works with: the app's settings, and the scope that routes pass to what reads and writes."""

from typing import cast

from flask import Flask, Response, current_app, g, session

from console.config import Settings
from console.database import Scope, app_engines


def init_app(app: Flask) -> None:
    """End each request's scope with it, and keep in the session how far the database had come."""

    @app.after_request
    def remember_writes(response: Response) -> Response:
        if "scope" in g and g.scope.written_until != session.get("written_until"):
            session["written_until"] = g.scope.written_until
        return response

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        if "scope" in g:
            g.scope.end_snapshot()


def scope() -> Scope:
    """Return the request's scope. It has no instructor until the signed-in user is loaded.

    It reads what the session wrote before (docs/decisions/0010).
    """
    if "scope" not in g:
        g.scope = Scope(app_engines(), written_until=session.get("written_until"))
    return cast(Scope, g.scope)


def settings() -> Settings:
    """Return the app's settings."""
    return cast(Settings, current_app.config["CONSOLE"])


def request_id() -> str:
    """Return the id that this request's lines in the log have."""
    return cast(str, g.request_id)
