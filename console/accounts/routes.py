"""Sign-in and sign-out."""

import re
from uuid import UUID

from flask import Blueprint, Response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, login_user, logout_user

from console.accounts.forms import SignInForm
from console.accounts.service import authenticate, load_actor
from console.database import read_from, work_for, written_until
from console.permissions import Actor, public

blueprint = Blueprint("accounts", __name__)
login_manager = LoginManager()

# Browsers read "//host" and "/\host" as another host, and drop tabs and line ends before they look.
_PATH_ON_THIS_HOST = re.compile(r"/(?![/\\])[!-\[\]-~]*")


@login_manager.user_loader  # type: ignore[untyped-decorator]  # Flask-Login ships no types
def load_user(user_id: str) -> Actor | None:
    """Load the person whom a session names; from here on the request sees their instructors' rows.

    What the session wrote before, it reads (docs/decisions/0022).
    """
    read_from(session.get("written_until"))
    try:
        actor = load_actor(UUID(user_id))
    except ValueError:
        return None
    if actor:
        work_for(one.instructor_id for one in actor.memberships)
    return actor


def remember_writes(response: Response) -> Response:
    """Keep in the session how far the database had come when it wrote."""
    position = written_until()
    if position and position != session.get("written_until"):
        session["written_until"] = position
    return response


@blueprint.get("/login")
@public
def login() -> ResponseReturnValue:
    """Show the sign-in form."""
    return render_template(
        "accounts/login.html", form=SignInForm(data={"next": request.args.get("next", "")})
    )


@blueprint.post("/login")
@public
def sign_in() -> ResponseReturnValue:
    """Sign in, or say that address and password don’t go together."""
    form = SignInForm()
    if not form.validate():
        return render_template("accounts/login.html", form=form), 422
    user_id = authenticate(email=form.email.data or "", password=form.password.data or "")
    actor = load_actor(user_id) if user_id else None
    if actor is None:
        form.password.errors = ["E-mail address and password don’t go together, or the account is disabled."]
        return render_template("accounts/login.html", form=form), 422
    login_user(actor)
    return redirect(_safe(form.next.data), 303)


@blueprint.post("/logout")
@public
def logout() -> ResponseReturnValue:
    """Sign out."""
    logout_user()
    return redirect(url_for("accounts.login"), 303)


def _safe(path: str | None) -> str:
    return path if path and _PATH_ON_THIS_HOST.fullmatch(path) else "/"
