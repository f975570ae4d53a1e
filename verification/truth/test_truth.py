"""A short form of `make truth`: nothing false in a small world, and every lie caught."""

import pytest

from console.config import Settings
from testkit.databases import on_sqlite
from verification.truth.lies import LIES
from verification.truth.run import staged
from verification.truth.sentences import CaughtError
from verification.truth.world import Size

SMALL = Size(people=14, messages=260, instructors=3)


def test_no_sentence_about_a_small_world_is_false(settings: Settings):
    with staged(settings, seed=11, size=SMALL) as stage:
        stage.live(visits_every=6)
        figures = stage.figures
    assert figures.examples == []
    assert figures.unknown == {}
    assert figures.judged > 8_000
    assert figures.messages == stage.world.written >= SMALL.messages
    assert all(figures.world[name] for name in ("repeats", "late", "statements"))
    assert all(figures.visits[name] for name in ("writes", "conflicts", "repeats", "confirmations"))


@on_sqlite
@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_caught(settings: Settings, name: str):
    lie = LIES[name]
    with staged(settings, seed=11, size=SMALL, stops=True) as stage, pytest.MonkeyPatch.context() as patch:
        stage.populate()
        lie.tell(stage, patch)
        with pytest.raises(CaughtError) as caught:
            stage.live(visits_every=6)
    assert caught.value.kind in lie.kinds
