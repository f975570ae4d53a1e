"""Each rule of docs/design has a test, no test claims anything else, and every guard can be removed."""

import pytest

from verification.accept.guards import Guard, guards, removal
from verification.accept.rules import evidence, rules


def test_every_rule_has_a_test_and_every_claim_is_a_rule():
    known = rules()
    assert len(known) > 100
    assert set(known) == set(evidence())


@pytest.mark.parametrize("guard", guards(), ids=lambda guard: guard.name)
def test_a_guard_can_be_removed_and_its_test_shows_its_rule(guard: Guard):
    assert removal(guard)
    assert guard.function in evidence()[guard.rule]
    assert bool(guard.file) != bool(guard.sqlite or guard.postgresql)
