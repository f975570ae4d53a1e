"""Sign-in through the OpenID Connect provider: the way there and the way back (docs/decisions/0021)."""

import time
from collections.abc import Callable
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

import structlog
from flask import Blueprint, abort, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from console.accounts.routes import SignInForm, let_in, sign_in_page
from console.accounts.service import is_email, user_for_verified_email
from console.permissions import public
from console.web.current import scope, settings

if TYPE_CHECKING:
    from console.accounts.provider import Provider

log = structlog.get_logger()

blueprint = Blueprint("oidc", __name__)

MAX_SIGN_IN_SECONDS = 30 * 60
"""How long a person may take at the provider."""
_MAX_DESTINATION = 1000
"""The longest address that is kept meanwhile: a session is a cookie, which holds 4 KB."""

_NO_ACCOUNT = "The provider gave no verified e-mail address of an account here, or the account is disabled."
_DENIED = "The provider did not sign you in."
_MISMATCH = "This sign-in was begun in another place, or it is over. Start again."
_SILENT = "The sign-in provider does not answer"
_WRONG = "The sign-in provider gives no usable answer"


@blueprint.get("/login/oidc")
@public
def start() -> ResponseReturnValue:
    """Redirect to the provider."""

    destination = request.args.get("next", "")

    def send(provider: "Provider") -> ResponseReturnValue:
        begun = provider.start(_callback_address())
        url = begun.pop("url")
        session["oidc"] = {
            **begun,
            "next": destination if len(destination) <= _MAX_DESTINATION else "",
            "at": int(time.time()),
        }
        return redirect(url)

    return _ask_provider(send)


@blueprint.get("/login/oidc/callback")
@public
def callback() -> ResponseReturnValue:
    """Sign in the person whom the provider verified, if they have an account; accept each answer once."""
    if settings().oidc is None:
        abort(404)
    begun = session.get("oidc")
    if not begun or not _belongs(begun):
        return _refuse("state", _MISMATCH, 400)
    del session["oidc"]
    if error := request.args.get("error"):
        return _refuse("denied", _DENIED, 403) if error == "access_denied" else _fail("error", _WRONG, 502)
    return _ask_provider(lambda provider: _finish(provider, begun))


def _finish(provider: "Provider", begun: dict[str, Any]) -> ResponseReturnValue:
    email = provider.finish(
        code=request.args.get("code", ""),
        redirect_uri=_callback_address(),
        nonce=begun["nonce"],
        code_verifier=begun["code_verifier"],
    )
    if email and not is_email(email):
        return _refuse("address", _NO_ACCOUNT, 400)
    account = user_for_verified_email(scope(), email=email) if email else None
    if account is None:
        return _refuse("no account", _NO_ACCOUNT, 403)
    return let_in(account, begun["next"])


def _ask_provider(question: Callable[["Provider"], ResponseReturnValue]) -> ResponseReturnValue:
    """Return the answer to a question to the provider, or a page about its failure; 404 where none is set."""
    oidc = settings().oidc
    if oidc is None:
        abort(404)
    from console.accounts import provider  # slow to import, and only these sign-ins need it

    try:
        known = current_app.extensions.get("oidc")
        if known is None:
            known = current_app.extensions.setdefault("oidc", provider.Provider(oidc))
        return question(known)
    except provider.Mismatch as error:
        return _refuse(str(error), _MISMATCH, 400)
    except provider.ProviderSilent as error:
        return _fail(str(error), _SILENT, 503)
    except provider.ProviderWrong as error:
        current_app.extensions.pop("oidc", None)  # its description may be wrong too: ask for it again
        return _fail(str(error), _WRONG, 502)


def _belongs(begun: dict[str, Any]) -> bool:
    """Say whether this request answers the sign-in that was begun, which is not too long ago."""
    state = request.args.get("state", "")
    return (
        compare_digest(state.encode(), begun["state"].encode())
        and time.time() - begun["at"] <= MAX_SIGN_IN_SECONDS
    )


def _refuse(cause: str, notice: str, status: int) -> ResponseReturnValue:
    log.warning("provider_sign_in_refused", cause=cause)
    return sign_in_page(SignInForm(formdata=None), notice), status


def _fail(cause: str, heading: str, status: int) -> ResponseReturnValue:
    log.error("provider_failed", cause=cause)
    advice = (
        "Try again in a moment. If it keeps failing, the console’s administrator finds the cause in its log."
    )
    if settings().password_sign_in:
        advice += " You can sign in with your password meanwhile."
    return render_template("error.html", heading=heading, advice=advice), status


def _callback_address() -> str:
    public_url = settings().public_url
    return public_url + url_for("oidc.callback") if public_url else url_for("oidc.callback", _external=True)
