"""What every answer carries: security headers, caching rules, and addresses of static files."""

import hashlib
from functools import lru_cache

from flask import Flask, Response, request

from console.config import ROOT, Settings

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Two years, and every name beneath: OWASP ASVS 5.0, 3.4.1 (docs/decisions/0022).
_ONLY_TLS = {"Strict-Transport-Security": "max-age=63072000; includeSubDomains"}

# Control characters that people may write and HTML cannot represent.
_NOT_HTML = bytes({*range(32), 127} - set(b"\t\n\r"))


def init_app(app: Flask, settings: Settings) -> None:
    """Add the headers to every answer and `asset` to the templates."""
    app.jinja_env.globals["asset"] = asset
    headers = [*_HEADERS.items(), *(_ONLY_TLS.items() if settings.behind_tls else ())]

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.extend(headers)
        response.headers["Cache-Control"] = _caching(response)
        if response.mimetype == "text/html":
            response.data = response.data.translate(None, _NOT_HTML)
        return response


def asset(filename: str) -> str:
    """Return the address of a static file, which changes whenever its content does."""
    return f"{request.script_root}/static/{filename}?v={_fingerprint(filename)}"


@lru_cache
def _fingerprint(filename: str) -> str:
    return hashlib.sha256((ROOT / "static" / filename).read_bytes()).hexdigest()[:12]


def _caching(response: Response) -> str:
    if request.endpoint != "static" or response.status_code >= 400:
        return "no-store"
    return "public, max-age=31536000, immutable" if "v" in request.args else "no-cache"
