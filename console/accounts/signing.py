"""Signatures of cookies, which count whatever became of the clock since (docs/decisions/0045)."""

import hashlib
from typing import Any

from itsdangerous import SignatureExpired, TimestampSigner


class Signer(TimestampSigner):
    """Signs by SHA-256, and takes a signature of later than now for one of now: the clock was set back."""

    default_digest_method = staticmethod(hashlib.sha256)
    default_key_derivation = "hmac"

    def unsign(self, signed_value: str | bytes, *args: Any, **options: Any) -> Any:
        try:
            return super().unsign(signed_value, *args, **options)
        except SignatureExpired as error:
            if error.date_signed is None or error.date_signed.timestamp() <= self.get_timestamp():
                raise
        return super().unsign(signed_value, **{**options, "max_age": None})
