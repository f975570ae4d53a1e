"""Passwords: which are accepted, and what of them is hashed (docs/decisions/0019)."""

import unicodedata

_MIN_LENGTH, _MAX_LENGTH = 12, 128
_MIN_SCORE = 4
"""The highest of zxcvbn's scores: finding the password takes at least ten thousand million guesses."""

_CONSOLE = "Customer Memory"


def composed(password: str) -> str:
    """Return the password in the one form in which every keyboard's accents are the same (Unicode NFC)."""
    return unicodedata.normalize("NFC", password)


def fault(password: str, *, email: str, name: str) -> str | None:
    """Say why a password is refused for the user of this address and name; None where it is accepted."""
    length = len(composed(password))
    if not _MIN_LENGTH <= length <= _MAX_LENGTH:
        return f"the password has {length} characters: it takes {_MIN_LENGTH} to {_MAX_LENGTH}"
    names = [email, email.partition("@")[0], name, _CONSOLE]
    if _bare(password) in map(_bare, names):
        return "the password is a name that others know: it takes one that is hard to guess"
    from zxcvbn import zxcvbn  # slow to import, and no sign-in needs it

    words = [*names, *(word for known in names for word in _spaced(known).split())]
    found = zxcvbn(composed(password), [word.lower() for word in words], max_length=_MAX_LENGTH)
    if found["score"] >= _MIN_SCORE:
        return None
    why = found["feedback"]["warning"] or "It is short for what it is made of."
    return (
        f"the password is easy to guess: {why} Several words that have nothing to do with each other are hard"
    )


def _bare(text: str) -> str:
    """Return the letters and digits: a name stays easy to guess with dots or capitals in it."""
    return _spaced(text.casefold()).replace(" ", "")


def _spaced(text: str) -> str:
    """Return the letters and digits, with a space for everything else."""
    return "".join(letter if letter.isalnum() else " " for letter in text)
