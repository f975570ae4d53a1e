"""The checker accepts correct histories and finds every bug that was put into a store."""

import pytest

from verification.faults.checker import check
from verification.faults.figures import Figures, sizes
from verification.faults.simulation import BUGS, Store, simulate


@sizes(short=30, full=300)
def test_a_right_store_passes(figures: Figures, size: int):
    for seed in range(size):
        assert check(simulate(Store, seed)) == [], seed
    figures("right histories, all of which passed", size)


# Calls that overlap may hide a bug: what an old copy says was still true while the call was under way.
LENGTHS = (400, 1_600, 6_400)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
@sizes(short=10, full=100)
def test_a_store_with_a_bug_is_caught(figures: Figures, bug: type[Store], size: int):
    for seed in range(size):
        assert any(check(simulate(bug, seed, calls=calls)) for calls in LENGTHS), seed
    figures("histories with this bug, all of which were caught", size)
