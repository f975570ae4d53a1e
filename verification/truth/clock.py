"""The world's clock: what the console takes for now, while simulated years pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from console.database import types


class Clock:
    """A moment that moves only when the world moves it."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def move_to(self, moment: datetime) -> None:
        """Move on to a moment; never back."""
        self.now = max(self.now, moment)

    def pass_seconds(self, seconds: float) -> None:
        """Let some seconds pass."""
        self.now += timedelta(seconds=seconds)


@contextmanager
def console_time(clock: Clock) -> Iterator[None]:
    """Let the console's `now()` follow the clock, also where models took the function as a default."""

    class Moments(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no one asks for its class
            return clock.now.astimezone(tz or UTC)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(types, "datetime", Moments)
        yield
