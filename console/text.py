"""Text that people type: whether it can be seen, and whether it can be kept."""

import re
import unicodedata

MAX_REASON = 500
"""Characters of a reason."""
MAX_NAME = 200
"""Characters of a name."""

# White space, control and format characters.
_INVISIBLE = {"Zs", "Zl", "Zp", "Cc", "Cf"}
# Unicode's other Default_Ignorable_Code_Points, and the braille pattern without a dot.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)

# Control characters but tab and line breaks, and halves of a surrogate pair.
_NOT_KEPT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def is_visible(text: str) -> bool:
    """Say whether a reader sees at least one character of `text` (CM-2.3)."""
    # Most texts begin with a visible ASCII character.
    return "!" <= text[:1] <= "~" or any(
        unicodedata.category(character) not in _INVISIBLE and not _IGNORABLE.match(character)
        for character in text
    )


def reason_fault(reason: str) -> str | None:
    """Return why a reason can't be kept, None for one that can (CM-2.3)."""
    if not is_visible(reason):
        return "Give a reason: it is kept in the audit trail."
    if len(reason) > MAX_REASON:
        return f"Keep the reason to {MAX_REASON} characters at most."
    if _NOT_KEPT.search(reason):
        return "The reason has control characters, which can’t be kept. Remove them."
    return None


def is_name(text: str) -> bool:
    """Say whether `text` can name something: one line of at most MAX_NAME characters, all printable."""
    return is_visible(text) and text.isprintable() and len(text) <= MAX_NAME
