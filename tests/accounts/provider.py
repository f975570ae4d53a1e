"""An OpenID Connect provider on this machine, which also gives the wrong answers that a test asks for."""

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import flask
import pytest
import requests
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import TestResponse

from console.config import Oidc
from testkit.pages import Browser

BACK = "/login/oidc/callback"
TOKEN, DESCRIPTION = "/oauth2/token", "/.well-known/openid-configuration"
# Authlib, with which the provider is made, uses parts of its own that it has deprecated.
IGNORED_WARNINGS = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib"),
    pytest.mark.filterwarnings("ignore::authlib.deprecate.AuthlibDeprecationWarning"),
]

Json = dict[str, Any]


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 (werkzeug's own name)
        pass


class Provider:
    """The provider as its people and a test see it."""

    def __init__(self) -> None:
        import oidc_provider_mock  # warns as it is read, which a test can be told to ignore

        self.app = oidc_provider_mock.app(require_nonce=True)
        self.port = 0
        self.asked: list[str] = []
        self.challenges: dict[str, str] = {}
        self.wrong: dict[str, Callable[[Any], Any]] = {}
        self._key: Any = None
        self.app.before_request(self._note)
        self.app.after_request(self._answer)

    @property
    def issuer(self) -> str:
        """Return what it calls itself."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Oidc:
        """Return what the console is told of it."""
        return Oidc(issuer=self.issuer, client_id="console", client_secret="hush")

    def know(self, who: str, **claims: Any) -> None:
        """Give a person an account at the provider."""
        known = {"email": who, "email_verified": True, **claims}
        assert requests.put(f"{self.issuer}/users/{who}", json=known, timeout=5).ok

    def sign_in(self, url: str, email: str, **changes: str) -> str:
        """Sign in a person who was sent to `url`; return the console's address they go back to."""
        return self._decide(url, {"sub": email}, changes)

    def deny(self, url: str) -> str:
        """Let a person who was sent to `url` refuse."""
        return self._decide(url, {"action": "deny"}, {})

    def _decide(self, url: str, fields: dict[str, str], changes: dict[str, str]) -> str:
        parts = urlsplit(url)
        asked = {name: item for name, (item,) in parse_qs(parts.query).items()} | changes
        there = urlunsplit(parts._replace(query=urlencode(asked)))
        answer = requests.post(there, data=fields, allow_redirects=False, timeout=5)
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["Location"])
        # This provider forgets the state of a person who refuses.
        given = {"state": [asked["state"]], **parse_qs(back.query)}
        for code in given.get("code", ()):
            self.challenges[code] = asked["code_challenge"]
        return f"{back.path}?{urlencode(given, doseq=True)}"

    def answer(self, path: str, **changes: Any) -> None:
        """Let what is answered at a path be changed in part."""
        self.wrong[path] = lambda answer: {**answer, **changes}

    def answer_with(self, path: str, other: Any) -> None:
        """Let something else be answered at a path."""
        self.wrong[path] = lambda _: other

    def resign(self, change: Callable[[Json], object]) -> None:
        """Let the claims of ID tokens be changed before they are signed."""

        def changed(token: Json) -> Json:
            key = RSAKey.import_key(self._key.as_dict(is_private=True))
            claims = jwt.decode(token["id_token"], key).claims
            change(claims)
            return {**token, "id_token": jwt.encode({"alg": "RS256"}, claims, key)}

        self.wrong[TOKEN] = changed

    def _note(self) -> None:
        self._key = flask.g.oidc_provider_mock_storage.jwk
        self.asked.append(flask.request.path)
        if flask.request.path == TOKEN and (challenge := self.challenges.get(flask.request.form["code"])):
            digest = hashlib.sha256(flask.request.form["code_verifier"].encode()).digest()
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge

    def _answer(self, response: flask.Response) -> flask.Response:
        change = self.wrong.get(flask.request.path)
        if change is None:
            return response
        made = change(response.get_json(silent=True))
        return made if isinstance(made, flask.Response) else flask.jsonify(made)


@contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider."""
    running = Provider()
    server = make_server("127.0.0.1", 0, running.app, threaded=True, request_handler=_Quiet)
    running.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def begin(browser: Browser, path: str = "/login/oidc") -> str:
    """Ask to sign in through the provider, and return where one is sent."""
    answer = browser.http.get(path)
    assert answer.status_code == 302
    return answer.location


def come_back(browser: Browser, idp: Provider, email: str, **changes: str) -> TestResponse:
    """Sign in at the provider, and come back."""
    return browser.http.get(idp.sign_in(begin(browser), email, **changes))
