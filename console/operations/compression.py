"""Compresses pages, style sheets and scripts for browsers that take gzip.

Compressed lengths can give secrets away (BREACH) to somebody who makes a signed-in browser ask for pages that
repeat a guess beside the secret, and watches how long the answers are. So a page that repeats text of its
address isn't compressed; and as messages are what strangers wrote, a compressed page has a random number of
bytes added (docs/decisions/0050).
"""

import gzip
import io
import secrets
from functools import lru_cache

from flask import Flask, Response, request

_ASSETS = {"text/css", "text/javascript"}
_REPEATED = {"next", "page", "q"}
_PADDING = 100
# Past this level a page takes twice the time and hardly shrinks.
_PAGE_LEVEL = 4


def init_app(app: Flask) -> None:
    """Compress every answer that gains by it, after all else that changes its body."""

    @app.after_request
    def compress(response: Response) -> Response:
        is_asset = response.mimetype in _ASSETS
        if response.status_code != 200 or not (is_asset or response.mimetype == "text/html"):
            return response
        response.vary.add("Accept-Encoding")
        if not request.accept_encodings["gzip"] or (not is_asset and _REPEATED & request.args.keys()):
            return response
        response.direct_passthrough = False
        response.data = _asset(response.data) if is_asset else _page(response.data)
        response.headers["Content-Encoding"] = "gzip"
        etag, _ = response.get_etag()
        if etag:
            response.set_etag(etag, weak=True)
        return response


@lru_cache(maxsize=32)
def _asset(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _page(body: bytes) -> bytes:
    padded = io.BytesIO()
    name = "x" * secrets.randbelow(_PADDING)
    with gzip.GzipFile(name, "wb", _PAGE_LEVEL, padded, mtime=0) as compressed:
        compressed.write(body)
    return padded.getvalue()
