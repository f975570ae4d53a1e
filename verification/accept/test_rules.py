"""Each rule of docs/design has a test, no test claims anything else, and every guard can be removed."""

from pathlib import Path

import pytest

from verification.accept.guards import Guard, guards, removal
from verification.accept.rules import claims, evidence, rules


def test_every_rule_has_a_test_and_every_claim_is_a_rule():
    known = rules()
    assert len(known) > 100
    assert set(known) == set(evidence())


@pytest.mark.parametrize(
    "marked",
    [
        "@pytest.mark.shows()\ndef test_it(): pass",
        "class Tests:\n    @pytest.mark.shows('T1.1')\n    def test_it(self): pass",
        "pytestmark = pytest.mark.shows('T1.1')",
    ],
)
def test_a_claim_that_shows_nothing_is_no_rule(tmp_path: Path, marked: str):
    file = tmp_path / "test_it.py"
    file.write_text(f"@pytest.mark.shows('T1.1', 'T0.0')\ndef test_other(): pass\n{marked}\n")
    assert {rule for _, rule in claims(file)} - set(rules()) == {"T0.0", ""}


@pytest.mark.parametrize("guard", guards(), ids=lambda guard: guard.name)
def test_a_guard_can_be_removed_and_its_test_shows_its_rule(guard: Guard):
    assert removal(guard)
    assert guard.function in evidence()[guard.rule]
    assert bool(guard.file) != bool(guard.sqlite or guard.postgresql)
