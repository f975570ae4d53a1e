"""The OpenID Connect provider that signs people in, asked through Authlib (docs/decisions/0021)."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client import FrameworkIntegration, OAuthError
from authlib.integrations.flask_client import FlaskOAuth2App
from joserfc.errors import ClaimError, JoseError

from console.config import Oidc

ANSWER_SECONDS = 5
"""How long the provider may take to connect, and to answer."""
_LEEWAY_SECONDS = 60
"""How much the provider's clock may differ from ours."""

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
# The errors that reading JSON of another shape raises.
_NONSENSE = (AttributeError, KeyError, TypeError, ValueError)


class ProviderSilent(Exception):
    """The provider doesn't answer."""


class ProviderWrong(Exception):
    """The provider gives an invalid answer, or refuses the console itself."""


class Mismatch(Exception):
    """The answer does not belong to the sign-in that was begun."""


class Provider:
    """A provider, as it describes itself."""

    def __init__(self, oidc: Oidc) -> None:
        """Ask the provider for its description; raises ProviderSilent and ProviderWrong."""
        issuer = oidc.issuer.rstrip("/")
        self._client = FlaskOAuth2App(
            FrameworkIntegration("oidc"),
            name="oidc",
            client_id=oidc.client_id,
            client_secret=oidc.client_secret,
            server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid email",
                "code_challenge_method": "S256",
                "default_timeout": ANSWER_SECONDS,
                "max_redirects": 0,  # only the endpoints that the provider names are asked
            },
        )
        with _explained():
            about = self._client.load_server_metadata()
            if about["issuer"].rstrip("/") != issuer:
                raise ProviderWrong("describes another issuer")
            # The issuer is http:// only on this machine, to try things out.
            schemes = ("https://", "http://") if issuer.startswith("http://") else ("https://",)
            if not all(about[name].startswith(schemes) for name in _ENDPOINTS):
                raise ProviderWrong("describes no endpoints")
            # An unsigned token proves nothing, nor does one that is signed with the console's own secret.
            offered = about.get("id_token_signing_alg_values_supported", ["RS256"])
            about["id_token_signing_alg_values_supported"] = [
                name for name in offered if name != "none" and not name.startswith("HS")
            ]
        self._claims = {
            "iss": {"essential": True, "value": about["issuer"]},
            "aud": {"essential": True, "value": oidc.client_id},
        }

    def start(self, redirect_uri: str) -> dict[str, str]:
        """Begin a sign-in that comes back to `redirect_uri`: its url, state, nonce and code_verifier."""
        state, nonce = secrets.token_urlsafe(), secrets.token_urlsafe()
        return dict(self._client.create_authorization_url(redirect_uri, state=state, nonce=nonce))

    def finish(self, *, code: str, redirect_uri: str, nonce: str, code_verifier: str) -> str | None:
        """Exchange a code for the verified e-mail address of the person; None if there is none.

        Raises ProviderSilent, ProviderWrong, and Mismatch.
        """
        with _explained():
            token = self._client.fetch_access_token(
                redirect_uri, code=code, code_verifier=code_verifier, grant_type="authorization_code"
            )
            claims = self._who(token, nonce)
        email = claims.get("email")
        return email if isinstance(email, str) and claims.get("email_verified") is True else None

    def _who(self, token: dict[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of the ID token, checked, or the user info where those have no address."""
        claims = self._client.parse_id_token(
            token, nonce, claims_options=self._claims, leeway=_LEEWAY_SECONDS
        )
        if claims is None:
            raise ProviderWrong("gives no ID token")
        if "email" in claims:
            return dict(claims)
        about = self._client.userinfo(token=token)
        if about["sub"] != claims["sub"]:
            raise ProviderWrong("describes another person")
        return dict(about)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (requests.ConnectionError, requests.Timeout) as error:
        raise ProviderSilent(type(error).__name__) from error
    except requests.HTTPError as error:
        failed = ProviderSilent if error.response.status_code >= 500 else ProviderWrong
        raise failed(f"HTTP {error.response.status_code}") from error
    except OAuthError as error:
        if error.error == "invalid_grant":  # the code is invented, or was used before
            raise Mismatch("code") from error
        raise ProviderWrong(type(error).__name__) from error
    except ClaimError as error:
        raise Mismatch(f"claim {error.claim}") from error
    except (requests.RequestException, AuthlibBaseError, JoseError, *_NONSENSE) as error:
        raise ProviderWrong(type(error).__name__) from error
