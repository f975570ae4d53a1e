"""docs/security.md says what is done for every control, and names existing tests."""

import ast
import re
from functools import cache

import pytest

from console.config import ROOT

DOCUMENT = (ROOT / "docs" / "security.md").read_text()

# OWASP ASVS 5.0.0, levels 1 and 2 of eight chapters, by section.
CONTROLS = {
    "3.2": "1 2",
    "3.3": "1 2 3 4",
    "3.4": "1 2 3 4 5 6",
    "3.5": "1 2 3 4 5",
    "3.7": "1 2",
    "6.1": "1 2 3",
    "6.2": "1 2 3 4 5 6 7 8 9 10 11 12",
    "6.3": "1 2 3 4",
    "6.4": "1 2 3 4",
    "6.5": "1 2 3 4 5",
    "6.6": "1 2 3",
    "6.8": "1 2 3 4",
    "7.1": "1 2 3",
    "7.2": "1 2 3 4",
    "7.3": "1 2",
    "7.4": "1 2 3 4 5",
    "7.5": "1 2",
    "7.6": "1 2",
    "8.1": "1 2",
    "8.2": "1 2 3",
    "8.3": "1",
    "8.4": "1",
    "11.1": "1 2",
    "11.2": "1 2 3",
    "11.3": "1 2 3",
    "11.4": "1 2 3 4",
    "11.5": "1",
    "11.6": "1",
    "14.1": "1 2",
    "14.2": "1 2 3 4",
    "14.3": "1 2 3",
    "15.1": "1 2 3",
    "15.2": "1 2 3",
    "15.3": "1 2 3 4 5 6 7",
    "16.1": "1",
    "16.2": "1 2 3 4 5",
    "16.3": "1 2 3 4",
    "16.4": "1 2 3",
    "16.5": "1 2 3",
}
NEED_A_TEST = ("met", "in part")
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
# `health.known` logs the event that it is given.
EVENT = re.compile(
    r"(?:\blog\.(?:debug|info|warning|error|critical|exception)\(\s*|\bknown, [\w.]+, )\"(\w+)\""
)
STATES = (*NEED_A_TEST, "operator", "not done", "does not apply")


def tables(heading: str) -> list[list[str]]:
    """Return the rows of the tables under a heading, without their heads."""
    section = re.search(rf"^##+ {heading}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert section, heading
    rows = [line.strip("|").split("|") for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def controls() -> list[list[str]]:
    return [row for row in tables("The controls") if re.fullmatch(r"[\d.]+", row[0])]


@cache
def functions(path: str) -> set[str]:
    """Return the test functions of a file under tests/."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_control_of_the_eight_chapters_is_there_once():
    expected = [f"{section}.{number}" for section, numbers in CONTROLS.items() for number in numbers.split()]
    assert [row[0] for row in controls()] == expected
    assert len(expected) == 131


@pytest.mark.parametrize("row", controls(), ids=lambda row: row[0])
def test_every_control_says_what_is_done_and_what_shows_it(row: list[str]):
    _, asks, state, does, shown_by = row
    assert asks
    assert does
    assert state in STATES
    assert shown_by == "—" or set(TEST.sub("", shown_by)) <= {" "}
    assert "::" in shown_by or state not in NEED_A_TEST


def test_every_test_that_is_named_is_there():
    named = TEST.findall(DOCUMENT)
    assert len(named) == DOCUMENT.count("::")
    assert [f"{path}::{test}" for path, test in named if test not in functions(path)] == []


def test_every_control_that_is_not_met_is_listed_at_the_start():
    listed = [row[0] for row in tables("What is not met") if re.fullmatch(r"[\d.]+", row[0])]
    assert listed == [row[0] for row in controls() if row[2] in ("in part", "not done")]


def test_every_use_of_cryptography_is_in_the_inventory():
    modules = "argon2|authlib|cryptography|hashlib|hmac|itsdangerous|joserfc|random|secrets|ssl"
    imports = re.compile(rf"^\s*(?:import|from) (?:{modules})\b", re.MULTILINE)
    using = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "console").rglob("*.py")
        if imports.search(path.read_text())
    }
    inventory = [row[1] for row in tables("Where secrets live")]
    listed = {path for cell in inventory for path in re.findall(r"`(console/[\w/]+\.py)`", cell)}
    assert listed == using


def test_every_event_of_the_log_is_in_the_inventory():
    logged = {event for path in (ROOT / "console").rglob("*.py") for event in EVENT.findall(path.read_text())}
    listed = {event for row in tables("Logs") for event in re.findall(r"`(\w+)`", row[0])}
    assert listed == logged | {"request_failed"}
