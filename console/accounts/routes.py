"""Sign-in with a password, and sign-out."""

import re
from uuid import UUID

import structlog
from flask import Blueprint, abort, current_app, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, current_user
from flask_wtf import FlaskForm
from wtforms import EmailField, HiddenField, PasswordField
from wtforms.validators import InputRequired, Length

from console.accounts import devices, service, sessions
from console.permissions import Actor, public
from console.web.current import scope, settings

log = structlog.get_logger()

blueprint = Blueprint("accounts", __name__)
login_manager = LoginManager()
# Flask-Login would compare each request's user agent and address with those of the sign-in, without effect.
login_manager.session_protection = None

# Browsers read "//host" and "/\host" as another host, and drop tabs and line ends before they look.
_PATH_ON_THIS_HOST = re.compile(r"/(?![/\\])[!-\[\]-~]*")

_BUSY = "Many people are signing in at this moment. Try again in a few seconds."
_BUSY_SECONDS = 3
_TIME_IS_UP = "Your session has ended. Sign in to go on where you were."
_ENDED_ELSEWHERE = (
    "Your session has ended: signing out, or a new password, ends your sessions in every browser."
    " Sign in to go on where you were."
)
_HERE_ONLY = (
    "You are signed out in this browser only: the database does not answer, so your other sessions could not"
    f" be ended. They end after {sessions.IDLE_SECONDS // 3600} hours without use. To end them sooner,"
    " sign in again later and sign out."
)
_MISMATCH = "The e-mail or password is wrong, or the account is disabled."


class SignInForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """E-mail address, password, and where to go afterwards."""

    email = EmailField("E-mail", validators=[InputRequired("Enter your e-mail address."), Length(max=254)])
    password = PasswordField("Password", validators=[InputRequired("Enter your password."), Length(max=1024)])
    next = HiddenField()


@login_manager.user_loader  # type: ignore[untyped-decorator]  # Flask-Login ships no types
def load_user(user_id: str) -> Actor | None:
    """Load the person whom a session names; from here on the request sees their instructors' rows."""
    epoch = sessions.epoch()
    actor = service.load_actor(scope(), UUID(user_id), epoch) if epoch is not None else None
    if actor:
        scope().instructor_ids = [member.instructor_id for member in actor.memberships]
        g.user_id = user_id  # for the log
        # A late fragment would put an older cookie over a newer one. A form's answer is a page (0007).
        if "HX-Request" not in request.headers or "HX-Boosted" in request.headers:
            sessions.keep_alive()
    return actor


@blueprint.get("/login")
@public
def login() -> ResponseReturnValue:
    """Show the sign-in form, and what became of the session that this browser had."""
    ended = _HERE_ONLY if session.pop("signed_out_here_only", False) else None
    if "_user_id" in session and not current_user.is_authenticated:
        ended = _TIME_IS_UP if sessions.epoch() is None else _ENDED_ELSEWHERE
    return sign_in_page(SignInForm(data={"next": request.args.get("next", "")}), ended)


@blueprint.post("/login")
@public
def sign_in() -> ResponseReturnValue:
    """Sign in, or say that address and password don’t go together, or when to try again."""
    if not settings().password_sign_in:
        abort(404)
    form = SignInForm()
    if not form.validate():
        return sign_in_page(form), 422
    from console.accounts.throttle import Throttle, counters  # slow to import: only when someone signs in

    throttle = current_app.extensions.get("throttle")
    if throttle is None:
        throttle = current_app.extensions.setdefault("throttle", Throttle(settings().throttle_url))
    email = service.normalize_email(form.email.data or "")
    account = service.find_account(scope(), email=email)
    device = devices.known_for(account.id, account.session_epoch) if account else None
    counted = counters(email, request.remote_addr, device)
    if wait := throttle.wait(counted):
        log.warning("sign_in_throttled", account=devices.masked("account", email), seconds=wait)
        notice = f"Too many sign-ins failed. Try again in {_in_words(wait)}."
        return sign_in_page(form, notice), 429, {"Retry-After": str(wait)}
    try:
        matches = service.is_email(email) and service.authenticate(account, form.password.data or "")
    except service.TooBusy:
        log.warning("sign_in_deferred")
        return sign_in_page(form, _BUSY), 429, {"Retry-After": str(_BUSY_SECONDS)}
    if account and matches:
        return let_in(account, form.next.data)
    if service.is_email(email):
        throttle.count(counted)
    log.warning("sign_in_failed", account=devices.masked("account", email))
    form.password.errors = [_MISMATCH]
    return sign_in_page(form), 422


@blueprint.post("/logout")
@public
def logout() -> ResponseReturnValue:
    """End every session of the person; where the others can't be ended, this browser's, and say so."""
    mine = scope()  # made before the session is cleared: it takes from it what the session wrote before
    user_id, epoch = session.get("_user_id"), sessions.epoch()
    session.clear()
    if user_id and epoch is not None:
        try:
            next_epoch = service.end_sessions(mine, UUID(user_id), epoch)
        except service.SessionsGoOn as error:
            log.error("sessions_not_ended", user_id=user_id, kind=str(error))
            session["signed_out_here_only"] = True
            return redirect(url_for("accounts.login"), 303)
        if next_epoch is not None:
            devices.remember(UUID(user_id), next_epoch)
        log.info("signed_out", user_id=user_id)
    return redirect(url_for("accounts.login"), 303)


def sign_in_page(form: SignInForm, notice: str | None = None) -> str:
    """Return the page that offers every way to sign in."""
    return render_template(
        "accounts/login.html",
        form=form if settings().password_sign_in else None,
        provider=settings().oidc is not None,
        next=safe(form.next.data),
        notice=notice,
    )


def let_in(account: service.Account, destination: str | None) -> ResponseReturnValue:
    """Begin the session, let the account know this browser, and go where the person wanted to."""
    sessions.begin(account.id, account.session_epoch)
    devices.remember(account.id, account.session_epoch)
    log.info("signed_in", user_id=str(account.id))
    return redirect(safe(destination), 303)


def safe(path: str | None) -> str:
    """Return a path on this host, "/" for everything else."""
    return path if path and _PATH_ON_THIS_HOST.fullmatch(path) else "/"


def _in_words(seconds: int) -> str:
    for size, unit in ((3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = -(-seconds // size)
            return f"{count} {unit}" + "s" * (count > 1)
    return f"{seconds} second" + "s" * (seconds > 1)
