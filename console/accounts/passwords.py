"""Passwords: which are taken, and what of them is hashed (docs/decisions/0060)."""

import unicodedata
from functools import cache

SHORTEST, LONGEST = 12, 128

_CONSOLE = "Customer Memory"


def composed(password: str) -> str:
    """Return the password in the one form in which every keyboard's accents are the same (Unicode NFC)."""
    return unicodedata.normalize("NFC", password)


def fault(password: str, *, email: str, name: str) -> str | None:
    """Say why a password is not taken for the user of this address and name; None where it is."""
    length = len(composed(password))
    if not SHORTEST <= length <= LONGEST:
        return f"the password has {length} characters: it takes {SHORTEST} to {LONGEST}"
    if password.lower() in _common():
        return "the password is one of the most common ones: it takes one that nobody would try"
    if _bare(password) in {_bare(one) for one in (email, email.partition("@")[0], name, _CONSOLE)}:
        return "the password is a name that others know: it takes one that nobody would try"
    return None


@cache
def _common() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # read where it is needed: no sign-in waits for it

    return frozenset(FREQUENCY_LISTS["passwords"])


def _bare(text: str) -> str:
    """Return the letters and digits: a dot or a capital more makes no secret of a name."""
    return "".join(filter(str.isalnum, text.casefold()))
