"""Whether something is a person's: by the normalised identifier, else by the raw one (CM-1)."""

import re
from dataclasses import dataclass
from functools import cached_property

from console.identifiers import normalize_identifier

# More than people write between two digits. normalize_identifier decides whether it may stand there.
_BETWEEN_DIGITS = "[^0-9]{0,8}"


@dataclass(frozen=True)
class Person:
    """The person with one identifier, in every way in which it can be written."""

    identifier: str

    def __post_init__(self) -> None:
        if not self.identifier.strip():
            raise ValueError("a blank identifier")

    @cached_property
    def normalized_identifier(self) -> str | None:
        """Return the key of this person's customer; None where there can't be one."""
        return normalize_identifier(self.identifier)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        key = self.normalized_identifier or self.identifier
        if key.isascii() and key.isdigit():
            return re.compile(rf"(?<![0-9])(?:00{_BETWEEN_DIGITS})?{_BETWEEN_DIGITS.join(key)}(?![0-9])")
        return re.compile(rf"(?<!\w){re.escape(key)}(?!\w)")

    def has(self, raw: str | None) -> bool:
        """Return whether an identifier is this person's."""
        if self.normalized_identifier is None or raw is None:
            return raw == self.identifier
        return normalize_identifier(raw) == self.normalized_identifier

    def is_named_in(self, text: str) -> bool:
        """Return whether a text contains the identifier in any written form."""
        return any(self.has(place[0]) for place in self._pattern.finditer(text))
