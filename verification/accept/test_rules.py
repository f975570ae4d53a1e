"""Each rule of docs/design has a test that claims to show it, and no test claims anything else."""

from verification.accept.rules import evidence, rules


def test_every_rule_has_a_test_and_every_claim_is_a_rule():
    known = rules()
    assert len(known) > 100
    assert set(known) == set(evidence())
