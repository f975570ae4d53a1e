"""HTML as a small tree, quick to make and to search, since a world has ten thousand pages.

It reads what the console's templates write, where every text and attribute is escaped.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import unescape

_TOKEN = re.compile(r'<(/?)([a-z][a-z0-9]*)((?:[^>"]|"[^"]*")*)>|<![^>]*>|([^<]+)')
_ATTRIBUTE = re.compile(r'([^\s=/"]+)(?:="([^"]*)"|=([^\s"]+))?')
_VOID = frozenset(("br", "hr", "img", "input", "link", "meta"))


class Element:
    """A tag with its attributes, and the texts and tags in it."""

    __slots__ = ("_begin", "_end", "_nodes", "attributes", "children", "classes", "tag")

    def __init__(self, tag: str, attributes: dict[str, str], nodes: "list[Element]") -> None:
        self.tag = tag
        self.attributes = attributes
        self.classes = attributes.get("class", "").split()
        self.children: list[Element | str] = []
        self._nodes = nodes
        self._begin = len(nodes)
        self._end: int | None = None
        nodes.append(self)

    def close(self) -> None:
        """Note that everything in it is there."""
        self._end = len(self._nodes)

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def get(self, name: str, default: str = "") -> str:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def walk(self) -> "list[Element]":
        """Return this and every tag below it, in the order of the page."""
        return self._nodes[self._begin : self._end]

    def all(self, selector: str) -> "list[Element]":
        """Return the tags of a name, a `.class` or an `#id`, in the order of the page."""
        if selector[0] == "#":
            return [element for element in self.walk() if element.attributes.get("id") == selector[1:]]
        tag, _, name = selector.partition(".")
        found = [element for element in self.walk() if element.tag == tag] if tag else self.walk()
        return [row for row in found if name in row.classes] if name else found

    def first(self, selector: str) -> "Element | None":
        """Return the first tag that matches, if there is one."""
        found = self.all(selector)
        return found[0] if found else None

    def texts(self) -> Iterator[str]:
        """Yield the texts in it."""
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child.texts()

    @property
    def raw(self) -> str:
        """Return the text in it, as it is."""
        return "".join(self.texts())

    @property
    def text(self) -> str:
        """Return the text in it as it reads: white space is one space."""
        return " ".join(self.raw.split())


@lru_cache(maxsize=1)
def read(html: str) -> Element:
    """Read a page or a part of one, or give the tree of the page that was read last."""
    nodes: list[Element] = []
    root = Element("", {}, nodes)
    inside = [root]
    for closing, tag, attributes, text in _TOKEN.findall(html):
        if text:
            inside[-1].children.append(unescape(text) if "&" in text else text)
        elif closing:
            while len(inside) > 1:
                ended = inside.pop()
                ended.close()
                if ended.tag == tag:
                    break
        elif tag:
            element = Element(tag, _attributes(attributes), nodes)
            inside[-1].children.append(element)
            if tag in _VOID:
                element.close()
            else:
                inside.append(element)
    return root


def _attributes(text: str) -> dict[str, str]:
    return {name: unescape(quoted or bare) for name, quoted, bare in _ATTRIBUTE.findall(text)} if text else {}
