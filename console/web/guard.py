"""The guard: it asks before every view whether the visitor is signed in and allowed."""

from typing import cast
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from flask import Flask, Response, abort, current_app, make_response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from werkzeug.routing import BaseConverter

from console.database import read_id
from console.permissions import GRANTS, Actor, ActorMembership, Permission, public


class IdConverter(BaseConverter):
    """An id in an address, `<id:name>`. An invalid UUID is answered like an id that does not exist."""

    regex = "[^/]+"

    def to_python(self, value: str) -> UUID:
        try:
            return read_id(value)
        except ValueError:
            return UUID(int=0)


def init_app(app: Flask) -> None:
    """Ask before every view. A view that states no permission is closed to everyone."""
    app.view_functions["static"] = public(app.view_functions["static"])

    @app.before_request
    def check() -> ResponseReturnValue | None:
        view = current_app.view_functions.get(request.endpoint or "")
        if view is None or getattr(view, "public", False):
            return None
        if not current_user.is_authenticated:
            return _to_sign_in()
        permission = getattr(view, "permission", None)
        # A user without a membership gets the list, which says that there is nothing to read.
        if permission == Permission.CONVERSATIONS_READ or (permission and actor().instructors(permission)):
            return None
        abort(403)


def actor() -> Actor:
    """Return who is signed in; for views behind the guard only."""
    return cast(Actor, current_user._get_current_object())


def membership(permission: Permission, instructor_id: UUID) -> ActorMembership:
    """Return the actor's membership for an instructor.

    Answers 404 where the actor is no member, as for an unknown id, and 403 where the role lacks `permission`.
    """
    for found in actor().memberships:
        if found.instructor_id == instructor_id:
            return found if permission in GRANTS[found.role] else abort(403)
    abort(404)


def _to_sign_in() -> Response:
    if request.headers.get("HX-Request") == "true":
        answer = make_response("", 401)
        answer.headers["HX-Redirect"] = _login(*_page_shown())
    else:
        # After signing in the browser sends a GET, which a form's own address may not answer.
        answers_get = current_app.url_map.bind(request.host).test(request.path, "GET")
        query = request.query_string.decode("ascii", "replace")
        answer = cast(Response, redirect(_login(request.path, query) if answers_get else _login("/", "")))
    answer.vary.add("HX-Request")
    return answer


def _page_shown() -> tuple[str, str]:
    """Return path and query of the page that htmx names; "/" where that is no address."""
    try:
        shown = urlsplit(request.headers.get("HX-Current-URL", ""))
    except ValueError:
        return "/", ""
    return shown.path or "/", shown.query


def _login(path: str, query: str) -> str:
    return url_for("accounts.login") + "?" + urlencode({"next": f"{path}?{query}" if query else path})
