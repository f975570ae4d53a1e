"""Device cookies: which accounts were signed in to on this browser before (docs/decisions/0061).

A browser that holds one is counted apart from strangers, who so can't lock out whom they pretend to be. It
opens nothing, names nobody, and outlives the session.
"""

import base64
import hmac
import secrets

from flask import Response, current_app, g, request
from itsdangerous import BadData, URLSafeTimedSerializer

from console.accounts.signing import Signer

KEPT_SECONDS = 365 * 24 * 60 * 60
"""How long a browser is known after its last sign-in: people come back for the season."""
MOST_ACCOUNTS = 5
"""How many accounts one browser is known for: a desk may be shared."""


def masked(kind: str, value: str) -> str:
    """Return what stands for a value where others may read it; only the secret key's holder can tell."""
    key = str(current_app.secret_key).encode()
    digest = hmac.digest(key, f"{kind} {value}".encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def known_for(account: str) -> str | None:
    """Return this browser's id for a masked account that was signed in to on it; None for a stranger's."""
    return _accounts().get(account)


def remember(account: str) -> None:
    """Let this browser be known for a masked account from this answer on, by a new id."""
    others = [(one, id_) for one, id_ in _accounts().items() if one != account]
    g.device = dict([*others, (account, secrets.token_urlsafe(16))][-MOST_ACCOUNTS:])


def save(response: Response) -> None:
    """Write the cookie, where this request changed it."""
    if "device" in g:
        response.set_cookie(
            _name(),
            _serializer().dumps(g.device),
            max_age=KEPT_SECONDS,
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            httponly=True,
            samesite="Lax",
        )


def _accounts() -> dict[str, str]:
    try:
        found: dict[str, str] = _serializer().loads(request.cookies.get(_name(), ""), max_age=KEPT_SECONDS)
    except BadData:
        return {}
    return found


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.secret_key), salt="device", signer=Signer)


def _name() -> str:
    return "__Host-device" if current_app.config["SESSION_COOKIE_SECURE"] else "device"
