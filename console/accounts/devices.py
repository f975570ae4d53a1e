"""Device cookies: which accounts were signed in to on this browser before (docs/decisions/0019).

Failures from a browser with a device cookie are counted apart from those of strangers, so that strangers
lock no user out. The cookie grants nothing and has no name in it. It outlives the session, but not a change
of password: for an account it counts only in the session epoch in which it was written.
"""

import base64
import hmac
import secrets
from uuid import UUID

from flask import Response, current_app, g, request
from itsdangerous import BadData, URLSafeTimedSerializer

from console.accounts.signing import Signer
from console.web.current import settings

_KEPT_SECONDS = 365 * 24 * 60 * 60
"""How long a browser is known after its last sign-in: people come back for the season."""
_MAX_ACCOUNTS = 5
"""How many accounts one browser is known for: a desk may be shared."""


def masked(kind: str, value: str, key: str | None = None) -> str:
    """Return a keyed digest of a value, which tells nothing without the secret key."""
    key = key or str(current_app.secret_key)
    digest = hmac.digest(key.encode(), f"{kind} {value}".encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def known_for(user_id: UUID, epoch: int) -> str | None:
    """Return this browser's id if the user signed in on it in this epoch of sessions, else None."""
    browser, accounts = _read()
    return browser if any(accounts.get(mask, -1) >= epoch for mask in _masks(user_id)) else None


def remember(user_id: UUID, epoch: int) -> None:
    """Let this browser be known for a user from this answer on; it keeps the id that it has."""
    browser, accounts = _read()
    masks = _masks(user_id)
    others = [(mask, known) for mask, known in accounts.items() if mask not in masks]
    newest = dict([*others, (masks[-1], epoch)][-_MAX_ACCOUNTS:])
    g.device = browser or secrets.token_urlsafe(16), newest


def save(response: Response) -> None:
    """Write the cookie, where this request changed it."""
    if "device" in g:
        response.set_cookie(
            _name(),
            _serializer().dumps(g.device),
            max_age=_KEPT_SECONDS,
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Lax",
        )


def _read() -> tuple[str | None, dict[str, int]]:
    try:
        browser, accounts = _serializer().loads(request.cookies.get(_name(), ""), max_age=_KEPT_SECONDS)
    except BadData:
        return None, {}
    return browser, accounts


def _masks(user_id: UUID) -> list[str]:
    """Return the digests of a user's id, one for each accepted key, the current key's last."""
    return [masked("user", str(user_id), key) for key in settings().secret_keys]


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(settings().secret_keys, salt="browser", signer=Signer)


def _name() -> str:
    return "__Host-device" if current_app.config["SESSION_COOKIE_SECURE"] else "device"
