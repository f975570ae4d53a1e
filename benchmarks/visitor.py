"""A visitor at a browser, in this process: calls a WSGI application and keeps its cookies."""

import io
from collections.abc import Callable, Iterable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urlsplit

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Visitor:
    """A client of one WSGI application. What it does itself costs microseconds."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._cookies: dict[str, str] = {}
        self.headers: dict[str, str] = {}

    def get(self, address: str, **headers: str) -> str:
        """Get a page; anything but 200 is an error."""
        status, body = self.request("GET", address, b"", **headers)
        if status != 200:
            raise RuntimeError(f"{address} answered {status}: {body[:500]!r}")
        return body.decode()

    def post(self, address: str, fields: dict[str, str], **headers: str) -> int:
        """Send a form; return the status."""
        body = urlencode(fields).encode()
        return self.request(
            "POST", address, body, CONTENT_TYPE="application/x-www-form-urlencoded", **headers
        )[0]

    def request(self, method: str, address: str, body: bytes = b"", **environ: str) -> tuple[int, bytes]:
        """Send a request; return status and body. The answer's headers are in `headers`."""
        parts = urlsplit(address)
        answer: list[Any] = []
        chunks = self._application(
            {
                "REQUEST_METHOD": method,
                "SCRIPT_NAME": "",
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "SERVER_NAME": "127.0.0.1",
                "SERVER_PORT": "8000",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": "127.0.0.1",
                "HTTP_HOST": "127.0.0.1:8000",
                "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in self._cookies.items()),
                "CONTENT_LENGTH": str(len(body)),
                "wsgi.version": (1, 0),
                "wsgi.url_scheme": "http",
                "wsgi.input": io.BytesIO(body),
                "wsgi.errors": io.StringIO(),
                "wsgi.multithread": True,
                "wsgi.multiprocess": True,
                "wsgi.run_once": False,
                **environ,
            },
            lambda status, headers, _exc_info=None: answer.extend((status, headers)),
        )
        content = b"".join(chunks)
        if close := getattr(chunks, "close", None):
            close()
        status, headers = answer
        self.headers = {name.lower(): value for name, value in headers}
        for name, value in headers:
            if name.lower() == "set-cookie":
                self._cookies.update({key: cookie.value for key, cookie in SimpleCookie(value).items()})
        return int(status.split()[0]), content
