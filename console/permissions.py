"""Who may do what: permissions, the roles that hold them, and the guard that asks before every view."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from flask import Flask, Response, abort, current_app, make_response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import UserMixin, current_user
from werkzeug.routing import BaseConverter

from console.database import read_id


class Permission(StrEnum):
    """What a view lets its visitor do, as `scope:action`."""

    CONVERSATIONS_READ = "conversations:read"
    LINKS_READ = "links:read"
    LINKS_WRITE = "links:write"


class Role(StrEnum):
    """What a membership makes of a user, for one instructor."""

    INSTRUCTOR = "instructor"
    OPERATOR = "operator"


GRANTS: dict[Role, frozenset[Permission]] = {
    Role.INSTRUCTOR: frozenset({Permission.CONVERSATIONS_READ}),
    Role.OPERATOR: frozenset(Permission),
}


@dataclass(frozen=True, slots=True)
class Membership:
    """One instructor whom a user works for, and as what."""

    instructor_id: UUID
    instructor_name: str
    role: Role

    @property
    def author(self) -> str:
        """Return who the instructor's messages are by, as this reader is told: an operator isn't "You"."""
        return "You" if self.role is Role.INSTRUCTOR else self.instructor_name


@dataclass(frozen=True)
class Actor(UserMixin):  # type: ignore[misc]  # Flask-Login ships no types
    """The signed-in, active person behind a request, as loaded at its start."""

    id: UUID
    email: str
    name: str
    memberships: tuple[Membership, ...]

    def instructors(self, permission: Permission) -> tuple[Membership, ...]:
        """Return the memberships that grant `permission`, by instructor name."""
        return tuple(one for one in self.memberships if permission in GRANTS[one.role])

    def instructor_ids(self, permission: Permission) -> tuple[UUID, ...]:
        """Return the ids of the instructors for whom `permission` is granted."""
        return tuple(one.instructor_id for one in self.instructors(permission))


View = TypeVar("View", bound=Callable[..., Any])


def requires(permission: Permission) -> Callable[[View], View]:
    """State what a view needs; the guard refuses those who hold it for no instructor at all."""

    def mark(view: View) -> View:
        view.permission = permission  # type: ignore[attr-defined]
        return view

    return mark


def public(view: View) -> View:
    """State that a view is open to everybody."""
    view.public = True  # type: ignore[attr-defined]
    return view


class IdConverter(BaseConverter):
    """An id in an address, `<id:name>`. What is no UUID is an id of nothing, and answered as one."""

    regex = "[^/]+"

    def to_python(self, value: str) -> UUID:
        """Read the id."""
        try:
            return read_id(value)
        except ValueError:
            return UUID(int=0)


def guard(app: Flask) -> None:
    """Ask before every view: signed in, and allowed. A view that states nothing is open to nobody."""
    app.view_functions["static"] = public(app.view_functions["static"])

    @app.before_request
    def check() -> ResponseReturnValue | None:
        view = current_app.view_functions.get(request.endpoint or "")
        if view is None or getattr(view, "public", False):
            return None
        if not current_user.is_authenticated:
            return _to_sign_in()
        permission = getattr(view, "permission", None)
        # Someone without any membership has nothing to read, which a page of theirs can say.
        if permission == Permission.CONVERSATIONS_READ or (permission and actor().instructors(permission)):
            return None
        abort(403)


def actor() -> Actor:
    """Return who is signed in; for views behind the guard only."""
    return cast(Actor, current_user._get_current_object())


def membership(permission: Permission, instructor_id: UUID) -> Membership:
    """Return the actor's membership for an instructor.

    Answers 404 where the actor is no member (as for an id of nothing), 403 where the role lacks `permission`.
    """
    for one in actor().memberships:
        if one.instructor_id == instructor_id:
            return one if permission in GRANTS[one.role] else abort(403)
    abort(404)


def _to_sign_in() -> Response:
    if request.headers.get("HX-Request") == "true":
        answer = make_response("", 401)
        answer.headers["HX-Redirect"] = _login(*_page_shown())
    else:
        # A form's own address need not answer a GET, and that is what comes after signing in.
        answers_get = current_app.url_map.bind(request.host).test(request.path, "GET")
        query = request.query_string.decode("ascii", "replace")
        answer = cast(Response, redirect(_login(request.path, query) if answers_get else _login("/", "")))
    answer.vary.add("HX-Request")
    return answer


def _page_shown() -> tuple[str, str]:
    """Return path and query of the page that htmx names, the start where what it names is no address."""
    try:
        shown = urlsplit(request.headers.get("HX-Current-URL", ""))
    except ValueError:
        return "/", ""
    return shown.path or "/", shown.query


def _login(path: str, query: str) -> str:
    return url_for("accounts.login") + "?" + urlencode({"next": f"{path}?{query}" if query else path})
