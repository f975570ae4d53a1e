"""Compresses pages, style sheets and scripts for browsers that take gzip.

The length of a compressed page can reveal a secret to an attacker who chooses text beside it (BREACH). So a
page is not compressed if another site may have chosen its query, and a compressed page gets a random number
of bytes added (docs/decisions/0018).
"""

import gzip
import io
import secrets
from functools import lru_cache

from flask import Flask, Response, request

from console.web.origins import OWN_SITE

_ASSETS = {"text/css", "text/javascript"}
_PADDING = 100
# Past this level a page takes more time and hardly shrinks.
_PAGE_LEVEL = 4


def init_app(app: Flask) -> None:
    """Compress answers, after everything else that changes their body."""

    @app.after_request
    def compress(response: Response) -> Response:
        is_asset = response.mimetype in _ASSETS
        if response.status_code != 200 or not (is_asset or response.mimetype == "text/html"):
            return response
        response.vary.add("Accept-Encoding")
        if not request.accept_encodings["gzip"] or not (is_asset or _asked_by_ourselves()):
            return response
        response.direct_passthrough = False
        response.data = _asset(response.data) if is_asset else _page(response.data)
        response.headers["Content-Encoding"] = "gzip"
        etag, _ = response.get_etag()
        if etag:
            response.set_etag(etag, weak=True)
        return response


def _asked_by_ourselves() -> bool:
    """Return whether the query is empty or the browser says that the request came from this site.

    A page repeats nothing of its address but the query.
    """
    return not request.query_string or request.headers.get("Sec-Fetch-Site") in OWN_SITE


@lru_cache(maxsize=32)
def _asset(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _page(body: bytes) -> bytes:
    padded = io.BytesIO()
    name = "x" * secrets.randbelow(_PADDING)
    with gzip.GzipFile(name, "wb", _PAGE_LEVEL, padded, mtime=0) as compressed:
        compressed.write(body)
    return padded.getvalue()
