r"""Customer identifiers: the one normalisation function (CM-1), and two aids for people.

Only `normalize_identifier` says who a customer is. Every character it knows is written out here, because an
identity may not change with a locale or with a release of Python or Unicode: hence no `str.isdigit`, no bare
`str.strip`, no `\s` and no `\d`.
"""

import re

# The 25 characters that have Unicode's White_Space property, frozen.
_WHITE_SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# Left-to-right and right-to-left marks, embeddings, overrides and isolates.
_DIRECTION_MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_AROUND_A_PHONE_NUMBER = _WHITE_SPACE + _DIRECTION_MARKS

# Space, no-break space, narrow no-break space, hyphen, non-breaking hyphen, full stop, slash.
_SEPARATORS = " \u00a0\u202f-\u2011./"
_WITHOUT_SEPARATORS = str.maketrans("", "", _SEPARATORS + "()")

# A phone number's grammar, from small to large. Separators and brackets stand between digits only. No text
# makes it backtrack far: repeats of one character are possessive (`*+`, `++`), and repeats of a group are
# bounded, because a number has at most 15 digits. (The first releases of Python 3.11 match possessive groups
# wrongly: gh-106052.)
_SEPARATOR = f"[{re.escape(_SEPARATORS)}]"
_GAP = f"{_SEPARATOR}*+"
# Brackets hold digits and no further brackets. A zero that begins them may be a trunk zero, which is dialled
# inside the country only. Whether it belongs to the number would be a guess, so it makes the number invalid.
_DIGITS = f"[0-9]++(?:{_SEPARATOR}++[0-9]++){{,14}}"
_IN_BRACKETS = rf"\({_GAP}(?!0){_DIGITS}{_GAP}\)(?={_GAP}[0-9(])"
_PHONE_NUMBER = re.compile(rf"(?:\+|00{_GAP})?[1-9][0-9]*+(?:{_GAP}(?:[0-9]++|{_IN_BRACKETS})){{,14}}")
# A phone number that is normalised already, as most are.
_NORMALIZED = re.compile("[1-9][0-9]{7,14}")
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")

_ASCII_LETTER = re.compile("[A-Za-z]")
_INTERNATIONAL_PREFIX = re.compile(r"\A(?:\+|00)")
# C0 control characters and lone surrogates.
_UNSTORABLE = re.compile(r"[\x00-\x1f\ud800-\udfff]+")

MAX_TERM = 256
"""Characters that are looked for: one more than an identifier may have."""

# The ITU-T E.164 country calling codes of one and of two digits; all others have three.
_COUNTRY_CODE = re.compile("[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[0-9]{3}")
# By how many digits are left: the size of the next group, if not three. The last group has three or four.
_GROUP_SIZES = {5: 2, 8: 4}


def normalize_identifier(raw: object) -> str | None:
    """Return the key a customer is stored and looked up under, or None if `raw` is not valid (CM-1).

    Two kinds are accepted. A phone number in international form becomes its 8 to 15 ASCII digits; separators
    stand between digits and nowhere else. A WhatsApp business-scoped user ID is kept unchanged. A doubtful
    form gives None, because no customer is better than the wrong customer. So does a value that is not text.

    Pure, total and idempotent; takes time linear in the length of `raw`.
    """
    if not isinstance(raw, str):
        return None
    if _NORMALIZED.fullmatch(raw):
        return raw
    written = raw.strip(_AROUND_A_PHONE_NUMBER)
    if _PHONE_NUMBER.fullmatch(written):
        # Bytes drop the few other characters that a match can hold three times as fast as text does.
        digits = written.encode("ascii", "ignore").translate(None, b"+ -./()").decode("ascii")
        number = digits.removeprefix("00")
        return number if 8 <= len(number) <= 15 else None
    user_id = raw.strip(_WHITE_SPACE)
    return user_id if _USER_ID.fullmatch(user_id) else None


def search_term(q: str) -> str:
    """Return what to look for, as a substring of identifiers, when a person typed `q` into a search box.

    Any part of a phone number will do: separators go, wherever they stand, and so does one leading `+` or
    `00`. Text with an ASCII letter in it, a user ID perhaps, is kept to the letter. C0 controls and lone
    surrogates, which a database refuses, are dropped. The result may be empty.

    It helps to find customers and never says who one is: that is for `normalize_identifier`.
    """
    text = _UNSTORABLE.sub("", q).strip(_AROUND_A_PHONE_NUMBER)
    if _ASCII_LETTER.search(text):
        return text[:MAX_TERM]
    return _INTERNATIONAL_PREFIX.sub("", text.translate(_WITHOUT_SEPARATORS))[:MAX_TERM]


def split_country_code(identifier: str) -> tuple[str, str] | None:
    """Return a phone number's country calling code and its other digits; None for anything else."""
    digits = normalize_identifier(identifier) or ""
    country_code = _COUNTRY_CODE.match(digits)
    return (country_code[0], digits[country_code.end() :]) if country_code else None


def groups(identifier: str) -> tuple[str, ...]:
    """Split an identifier into groups that the eye can follow, for display only.

    A phone number gives `+` and its country calling code, then groups of three or four digits; joined, they
    are `+` and the normalised digits. Anything else is one group, as it came. Numbering plans change, so
    nothing may be decided from the groups.
    """
    number = split_country_code(identifier)
    if number is None:
        return (identifier,)
    country_code, rest = number
    result = [f"+{country_code}"]
    while len(rest) > 4:
        size = _GROUP_SIZES.get(len(rest), 3)
        result.append(rest[:size])
        rest = rest[size:]
    return (*result, rest)
