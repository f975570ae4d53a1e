"""The list of equivalent mutants is about the code as it is."""

from console.config import ROOT
from verification.mutants.__main__ import equivalents
from verification.mutants.runner import JUDGES


def test_every_equivalent_mutant_has_a_reason_and_changes_lines_that_are_there():
    for (module, function, old, new), reason in equivalents().items():
        assert module in JUDGES
        source = (ROOT / module).read_text()
        assert f"{function.rpartition('.')[2]}" in source
        assert old in " ".join(line.strip() for line in source.splitlines()), (module, old)
        assert old != new
        assert len(reason) > 20
