"""The rules of docs/design, and the tests that claim to show each with `@pytest.mark.shows`."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DESIGN = ROOT / "docs" / "design"

_ITEM = re.compile(r"(\d+)\. (.+)")
_ROW = re.compile(r"\| (\d+) \| ([^|]+) \|")
_PARAGRAPH = re.compile(r"\*\*(\w+)[^*]*\*\* (.+)")
_SENTENCE_END = re.compile(r"(?<=\.)\s")


@cache
def rules() -> dict[str, str]:
    """Return every rule by its name, such as CM-2.3.4, T4.1 or Review.T4.1, with its first sentence."""
    named: dict[str, str] = {}
    for path in sorted(DESIGN.glob("*.md")):
        for section, number, text in _items(path):
            named[_name(path.stem, section, number)] = _SENTENCE_END.split(text)[0]
    return {name: text for name, text in named.items() if name} | dict(_review_lines())


@cache
def evidence() -> dict[str, list[str]]:
    """Return the tests that claim to show each rule, as `path::function`.

    A claim that can't be read, or that names no rule, stands under the name "".
    """
    found: dict[str, list[str]] = {}
    for root in ("tests", "verification"):
        for path in sorted((ROOT / root).rglob("test_*.py")):
            for test, rule in claims(path):
                found.setdefault(rule, []).append(f"{path.relative_to(ROOT)}::{test}")
    return found


def _items(path: Path) -> Iterator[tuple[str, str, str]]:
    """Give the numbered items of a document as section, number and text."""
    section, item = "", ("", "", "")
    for line in path.read_text().splitlines():
        heading = line.startswith("#")
        started = _ITEM.match(line) or _ROW.match(line)
        if heading or started or not line.startswith(" "):
            if item[1]:
                yield item
            item = (section, started[1], started[2].strip()) if started else ("", "", "")
        elif item[1]:
            item = (*item[:2], f"{item[2]} {line.strip()}")
        if heading:
            section = line.strip("# ")
    if item[1]:
        yield item


def _name(document: str, section: str, number: str) -> str:
    """Return the name of an item, empty where the item is no rule."""
    if document == "acceptance":
        return f"{section}.{number}"
    if document == "CM-2.2" or section == "Rules":
        return f"{document}.{number}"
    return f"{document}.E{number}" if section == "Erasure" else ""


def _review_lines() -> Iterator[tuple[str, str]]:
    """Give each sentence of the review checklist, named by its paragraph and its place there."""
    for line in (DESIGN / "review-checklist.md").read_text().splitlines():
        if paragraph := _PARAGRAPH.match(line):
            for place, sentence in enumerate(_SENTENCE_END.split(paragraph[2]), start=1):
                yield f"Review.{paragraph[1]}.{place}", sentence


def claims(path: Path) -> Iterator[tuple[str, str]]:
    """Give each test of a file with each rule that it claims to show, "" for a claim that can't be read."""
    tree = ast.parse(path.read_text())
    unread = sum(map(_is_claim, ast.walk(tree)))
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and _is_claim(mark.func) and mark.args:
                unread -= 1
                yield from ((node.name, str(ast.literal_eval(argument))) for argument in mark.args)
    if unread:
        yield "a mark without a rule or on no test", ""


def _is_claim(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.shows"
