"""Origin checks: a request is for this console's host, and a change comes from one of its pages."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, abort, request
from werkzeug.exceptions import BadRequest, Forbidden

from console.config import DEFAULT_PORTS, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Internal callers use an address, and the webhook is signed. None of these uses the host's name.
_ANY_HOST = {"health.healthz", "health.readyz", "ingestion.receive", "ingestion.verify", "metrics.metrics"}
_REFUSED = "console.host_refused"
# Names by which no other machine can be reached.
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[1-9][0-9]{0,4})?")

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}
OWN_SITE = {"same-origin", "none"}
"""The Sec-Fetch-Site of a request from a page of this console or from the address bar."""


class UnknownHost(BadRequest):
    """A request for a host that isn't this console."""

    cause = "host"
    words = (
        "Not the console’s address",
        (
            "The console doesn’t answer under this name. Its administrator knows the right address"
            " and sets it with CONSOLE_PUBLIC_URL."
        ),
    )


class ForeignForm(Forbidden):
    """A change that a page of another site requested."""

    cause = "site"
    words = (
        "Sent from another site",
        "Nothing was saved: the console takes changes from its own pages only. Open the page here.",
    )


def check_host(app: Flask, settings: Settings) -> None:
    """Answer 400 for every host but the public one, or loopback where none is set (docs/decisions/0022)."""
    scheme, public, *_ = urlsplit(settings.public_url or "http://")
    answer = app.wsgi_app

    def mark(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        asked = environ.get("HTTP_HOST")
        if asked is None:
            asked = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        if not (_written(scheme, asked) == public if public else _LOOPBACK.fullmatch(asked.lower())):
            environ[_REFUSED] = True
            environ["HTTP_HOST"] = public or "localhost"  # what was asked for may be anything
        return answer(environ, start_response)

    app.wsgi_app = mark  # type: ignore[method-assign]  # as Flask documents for middleware

    @app.before_request
    def check() -> None:
        if _REFUSED in request.environ and request.endpoint not in _ANY_HOST:
            raise UnknownHost


def check_changes(app: Flask, settings: Settings) -> None:
    """Answer 403 for a change from another site, 415 or 411 for one that is no form (docs/decisions/0022).

    The form's token is checked as well; neither check needs the other.
    """
    schemes = {urlsplit(settings.public_url).scheme} if settings.public_url else set(DEFAULT_PORTS)

    @app.before_request
    def check() -> None:
        if request.method in _SAFE_METHODS or request.endpoint is None or request.endpoint in _ANY_HOST:
            return
        if not _from_this_site(schemes):
            raise ForeignForm
        if request.content_length is None and "Transfer-Encoding" in request.headers:
            abort(411)  # a stream over the limit would be cut and not refused
        if request.mimetype not in _FORMS and (request.mimetype or request.content_length):
            abort(415)


def _from_this_site(schemes: set[str]) -> bool:
    """Say whether the request names this site as its sender, or none: what isn't a browser names none."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in OWN_SITE
    sender = request.headers.get("Origin") or request.headers.get("Referer")
    if not sender:
        return True
    try:
        scheme, netloc, *_ = urlsplit(sender)
    except ValueError:
        return False
    return scheme in schemes and _written(scheme, netloc) == _written(scheme, request.host)


def _written(scheme: str, host: str) -> str:
    """Return a host as browsers write it."""
    return host.lower().removesuffix(DEFAULT_PORTS[scheme])
