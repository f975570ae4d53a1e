"""Signatures of cookies, which stay valid when the clock is set back (docs/decisions/0015)."""

import hashlib
import hmac
from functools import cache
from typing import Any

from itsdangerous import SignatureExpired, TimestampSigner
from itsdangerous.encoding import want_bytes


class Signer(TimestampSigner):
    """Signs by SHA-256, and takes a signature from the future for one of now: the clock was set back."""

    default_digest_method = staticmethod(hashlib.sha256)

    def derive_key(self, secret_key: str | bytes | None = None) -> bytes:
        """Derive the key from the secret key and the salt, once a process and not for every cookie."""
        return _derived(want_bytes(self.secret_key if secret_key is None else secret_key), self.salt)

    def unsign(self, signed_value: str | bytes, *args: Any, **options: Any) -> Any:
        try:
            return super().unsign(signed_value, *args, **options)
        except SignatureExpired as error:
            if error.date_signed is None or error.date_signed.timestamp() <= self.get_timestamp():
                raise
        return super().unsign(signed_value, **{**options, "max_age": None})


@cache
def _derived(secret_key: bytes, salt: bytes) -> bytes:
    return hmac.digest(secret_key, salt, "sha256")
