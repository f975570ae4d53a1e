"""Sessions: signed cookies that begin with a sign-in and end by the clock or with their user's epoch.

What ends them, and how soon, is in docs/decisions/0020. A time that is yet to come counts as now: the clock
was set back, which ends no session (docs/decisions/0015).
"""

import hashlib
import secrets
import time
from uuid import UUID

from flask import Flask, Response, request, session
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from itsdangerous import URLSafeTimedSerializer

from console.accounts import devices
from console.accounts.signing import Signer

IDLE_SECONDS = 12 * 60 * 60
"""How long a session lasts from one page to the next."""
MAX_SECONDS = 7 * 24 * 60 * 60
"""How long a session lasts at most."""
REFRESH_SECONDS = 5 * 60
"""How old the time of the last page, in the cookie, may get before the cookie is written again."""


class Sessions(SecureCookieSessionInterface):
    """Flask's own sessions, with a signer of our own and the cookie that outlives them."""

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self) -> None:
        self._serializer: URLSafeTimedSerializer | None = None

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Return the app's shared session serializer."""
        if self._serializer is None:
            serializer = super().get_signing_serializer(app)
            if serializer:
                serializer.signer = Signer
            self._serializer = serializer
        return self._serializer

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write the session's cookie, then the device's: the first cookie of an answer is the session."""
        if request.endpoint == "static":
            return  # a static file is the same for all, though Flask-Login reads the session
        super().save_session(app, session, response)
        devices.save(response)


def begin(user_id: UUID, epoch: int) -> None:
    """Begin a session of this user's epoch, without what the browser's session held before.

    It keeps only how far the database had come at the browser's last write (docs/decisions/0010).
    """
    kept = {"written_until": session["written_until"]} if "written_until" in session else {}
    session.clear()
    now = int(time.time())
    session.update(kept, _user_id=str(user_id), epoch=epoch, signed_in=now, seen=now)
    # The first form would make a token too, but its page would have to write the cookie again.
    session["csrf_token"] = secrets.token_hex()


def epoch() -> int | None:
    """Return the epoch of this request's session; None without a sign-in, or after its time."""
    now = time.time()
    if now - session.get("seen", 0) > IDLE_SECONDS or now - session.get("signed_in", 0) > MAX_SECONDS:
        return None
    found: int = session["epoch"]
    return found


def keep_alive() -> None:
    """Note that the session is in use, only every few minutes: each note adds a cookie to the answer."""
    now = int(time.time())
    if abs(now - session["seen"]) >= REFRESH_SECONDS:
        session["seen"] = now
        session["signed_in"] = min(session["signed_in"], now)
