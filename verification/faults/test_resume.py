"""A reader of the trail who goes on from the last position gets each event once (CM-2.5)."""

from pathlib import Path

import pytest

from testkit.databases import on_postgresql
from verification.faults.crashes import apart
from verification.faults.databases import Database
from verification.faults.figures import Figures, sizes
from verification.faults.load import PROCESSES, follow


@pytest.mark.shows("CM-2.5.11", "T5.3")
@on_postgresql
@sizes(short=60, full=2_600)
def test_a_reader_that_goes_on_from_its_last_position_misses_no_event(
    database: Database, figures: Figures, tmp_path: Path, size: int
):
    records = tmp_path / "records"
    records.mkdir()
    followed, acknowledged, looks = apart(follow, database.settings, records, writes=size)
    assert len(followed) == PROCESSES * size
    assert sorted(followed) == sorted(acknowledged)
    assert looks > 2
    figures(f"events of {PROCESSES} writers, each of them read once, with no gap", len(followed))
    figures("times that the reader looked for more", looks)
