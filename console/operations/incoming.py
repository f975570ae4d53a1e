"""What a request has to be before a view sees it: asked of this host, and a change one of our own forms."""

import re
from collections.abc import Iterable
from io import BytesIO
from typing import IO, TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from flask import Flask, Request, abort, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest, Forbidden
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.sansio.multipart import File

from console.config import DEFAULT_PORTS, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from werkzeug.formparser import t_parse_result

# Asked by address from inside, or signed by whoever calls: none of these makes anything of a host's name.
_ANY_HOST = {
    "health.healthz",
    "health.readyz",
    "ingestion.receive",
    "ingestion.verify",
    "metrics.metrics",
}
_REFUSED = "console.host_refused"
# Names by which no other machine can be reached.
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[1-9][0-9]{0,4})?")

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}
# What a browser says of a request that a page of this console, or the person, has made.
OWN_SITE = {"same-origin", "none"}


class UnknownHost(BadRequest):
    """A request for a host that isn't this console."""

    cause = "host"
    words = (
        "Not the console’s address",
        (
            "The console doesn’t answer under this name. Whoever runs it can tell its address,"
            " and sets it with CONSOLE_PUBLIC_URL."
        ),
    )


class ForeignForm(Forbidden):
    """A change that another site's page asked for."""

    cause = "site"
    words = (
        "Sent from another site",
        "Nothing was saved: the console takes changes from its own pages only. Open the page here.",
    )


class UnreadableForm(BadRequest):
    """A form that no browser sends for a page of the console."""

    cause = "form"
    words = (
        "The form can’t be read",
        "Nothing was saved. Open the page again and send its form: fields of text, in UTF-8, and no files.",
    )


class _Parts(MultiPartParser):
    def get_part_charset(self, headers: Headers) -> str:
        return "utf-8"

    def start_file_streaming(self, event: File, total_content_length: int | None) -> IO[bytes]:
        raise ValueError("the console's forms have no files")


class _StrictParser(FormDataParser):
    """Reads what the console's own forms send; raises UnreadableForm for everything else.

    Werkzeug's own parser keeps bytes that aren't UTF-8 as percent signs or replacement characters.
    """

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> "t_parse_result":
        """Return the stream, the fields, and no files."""
        try:
            if mimetype == "multipart/form-data":
                raw = stream.read()
                raw.decode()  # raises UnicodeDecodeError, which the parser would not
                boundary = (options or {})["boundary"].encode("ascii")
                parts = _Parts(
                    max_form_memory_size=self.max_form_memory_size, max_form_parts=self.max_form_parts
                )
                form, _ = parts.parse(BytesIO(raw), boundary, content_length)
                items = list(form.items(multi=True))
                if not all(isinstance(name, str) for name, _ in items):
                    raise UnreadableForm
            elif mimetype == "application/x-www-form-urlencoded":
                items = parse_qsl(stream.read().decode(), keep_blank_values=True, errors="strict")
            else:
                items = []
        except (KeyError, ValueError) as error:
            raise UnreadableForm from error
        return stream, self.cls(items), self.cls()


class StrictRequest(Request):
    """A request whose form can be read to the letter."""

    form_data_parser_class = _StrictParser


class _HostCheck:
    """Tells the console which requests are for another host, and hides its name, which may be anything."""

    def __init__(self, app: "WSGIApplication", settings: Settings) -> None:
        self._app = app
        self._scheme, self._public, *_ = urlsplit(settings.public_url or "http://")

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Pass a request on."""
        asked = environ.get("HTTP_HOST")
        if asked is None:
            asked = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        if not self._knows(asked):
            environ[_REFUSED] = True
            environ["HTTP_HOST"] = self._public or "localhost"
        return self._app(environ, start_response)

    def _knows(self, host: str) -> bool:
        if self._public:
            return _written(self._scheme, host) == self._public
        return _LOOPBACK.fullmatch(host.lower()) is not None


def check_host(app: Flask, settings: Settings) -> None:
    """Answer 400 for every host but the public one, or loopback where none is set (docs/decisions/0065)."""
    app.wsgi_app = _HostCheck(app.wsgi_app, settings)  # type: ignore[method-assign]  # Flask's own way

    @app.before_request
    def check() -> None:
        if _REFUSED in request.environ and request.endpoint not in _ANY_HOST:
            raise UnknownHost


def check_changes(app: Flask, settings: Settings) -> None:
    """Answer 403 for a change from another site, 415 or 411 for one that is no form (docs/decisions/0066).

    The form's token is another wall: each stands without the other.
    """
    schemes = {urlsplit(settings.public_url).scheme} if settings.public_url else set(DEFAULT_PORTS)

    @app.before_request
    def check() -> None:
        if request.method in _SAFE_METHODS or request.endpoint is None or request.endpoint in _ANY_HOST:
            return
        if not _from_this_site(schemes):
            raise ForeignForm
        if request.content_length is None and "Transfer-Encoding" in request.headers:
            abort(411)  # past its limit, a stream would be cut and not refused
        if request.mimetype not in _FORMS and (request.mimetype or request.content_length):
            abort(415)


def _from_this_site(schemes: set[str]) -> bool:
    """Say whether a browser names this site as the sender. What isn't a browser names none."""
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
