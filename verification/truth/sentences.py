"""One sentence at a time: whether it is true, and how many were and were not."""

import re
from collections import Counter
from datetime import date as date_type
from datetime import datetime
from zoneinfo import ZoneInfo

from verification.truth.clock import Clock
from verification.truth.said import RowSaid
from verification.truth.truth import Instructor, Thread, Truth, User
from verification.truth.words import MONTHS, WEEKDAYS, is_shown_as, shown

MAX_EXAMPLES = 3

_EXACT = re.compile(r"(\d{1,2}) (\w{3}) (\d{4}), (\d\d:\d\d(?: \(UTC[+-]\d\d:\d\d\))?)")
_DATE = re.compile(r"(\d{1,2}) (\w{3})\w*(?: (\d{4}))?")
_DAY = re.compile(r"(\w{3})\w*,? (\d{1,2}) (\w{3})\w*(?: (\d{4}))?")
_AGO = re.compile(r"(\d+) (min|h)")
_COUNT = re.compile(r"(\d+)( or more|\+)?")


class CaughtError(AssertionError):
    """A sentence of this kind is false, and the judge was told to stop at the first."""

    def __init__(self, kind: str, example: str) -> None:
        super().__init__(example)
        self.kind = kind


class Sentences:
    """Counts sentences, and keeps those that are false."""

    def __init__(self, truth: Truth, clock: Clock, zone: str, *, stops: bool = False) -> None:
        self.truth = truth
        self.clock = clock
        self.zone = ZoneInfo(zone)
        self.stops = stops
        self.judged: Counter[str] = Counter()
        self.false: Counter[str] = Counter()
        self.examples: list[str] = []
        self.reader: User | None = None
        self.lost = self.doubled = self.unmade = 0
        self.unknown: Counter[str] = Counter()
        self._by_id: dict[str, Thread] = {}

    def says(self, kind: str, said: object, *true: object) -> bool:
        """Judge one sentence: `said` has to be one of what is true."""
        return self.holds(kind, said in true, said, true[0] if len(true) == 1 else true)

    def holds(self, kind: str, is_true: bool, said: object, true: object = "") -> bool:
        """Judge one sentence of which it is known whether it is true."""
        self.judged[kind] += 1
        if not is_true:
            self.false[kind] += 1
            example = f"{self.clock.now:%Y-%m-%d %H:%M:%S} {kind}: the page says {said!r}, true is {true!r}"
            if self.stops:
                raise CaughtError(kind, example)
            if self.false[kind] <= MAX_EXAMPLES:
                self.examples.append(example)
        return is_true

    @property
    def reader_email(self) -> str:
        """Return the address of the person who reads."""
        return self.reader.email if self.reader else ""

    @property
    def hour_now(self) -> str:
        """Return what the console's clock shows."""
        return self.hour(self.clock.now)

    # Identifiers

    def names(self, kind: str, said: str, identifier: str | None) -> bool:
        """Judge an identifier, which may be cut in the middle."""
        true = shown(identifier)
        if "…" in said:
            head, tail = said.split("…", 1)
            is_true = bool(head) and len(tail) >= 4 and true.startswith(head) and true.endswith(tail)
            return self.holds(kind, is_true, said, true)
        return self.says(kind, said, true)

    def thread_of(self, instructor: Instructor, row: RowSaid) -> Thread | None:
        """Return whose conversation a row is; the first time that its id is seen, by its identifier."""
        thread = self._by_id.get(row.id)
        if thread is None:
            unseen = [
                item
                for item in instructor.threads.values()
                if item.id is None and is_shown_as(item, row.identifier)
            ]
            if not self.holds(
                "conversation", len(unseen) == 1, row.identifier, "no such conversation, or two"
            ):
                return None
            (thread,) = unseen
            thread.id = row.id
            self._by_id[row.id] = thread
        self.holds("instructor", thread.instructor is instructor, row.identifier, thread.instructor.name)
        self.names("identifier", row.identifier, thread.identifier)
        return thread

    # Moments

    def local(self, moment: datetime) -> datetime:
        """Return a moment in the console's zone."""
        return moment.astimezone(self.zone)

    def full(self, true: datetime) -> str:
        """Return a moment as a page tells it in full."""
        local = self.local(true)
        return f"{local.day} {MONTHS[local.month - 1]} {local.year}, {self.hour(true)}"

    def exact(self, kind: str, said: str, true: datetime) -> None:
        """Judge a moment told in full."""
        found = _EXACT.search(said)
        expected = self.full(true)
        self.holds(kind, found is not None and found[0] == expected, said, expected)

    def hour(self, moment: datetime) -> str:
        """Return a time of the day, which names its offset in the hour that clocks repeat."""
        local = self.local(moment)
        offset, other = f"{local:%z}", local.replace(fold=1 - local.fold).utcoffset()
        return f"{local:%H:%M}" + ("" if local.utcoffset() == other else f" (UTC{offset[:3]}:{offset[3:]})")

    def ago(self, said: str, true: datetime) -> None:
        """Judge a short form: 2 min, 3 h, yesterday, Sat, 3 Nov, 3 Nov 2025."""
        local, now = self.local(true), self.local(self.clock.now)
        seconds = (self.clock.now - true).total_seconds()
        days = (now.date() - local.date()).days
        if found := _AGO.fullmatch(said):
            size = 60 if found[2] == "min" else 3600
            is_true = int(seconds / size) == int(found[1])
        elif said == "now":
            is_true = 0 <= seconds < 60
        elif said in ("today", "yesterday"):
            is_true = days == ("today", "yesterday").index(said)
        elif said in WEEKDAYS:
            is_true = 0 <= days < 7 and WEEKDAYS[local.weekday()] == said
        else:
            is_true = self._is_date(said, local.date())
        self.holds("ago", is_true, said, local.isoformat())

    def date(self, kind: str, said: str, true: datetime) -> None:
        """Judge a date."""
        self.holds(kind, self._is_date(said, self.local(true).date()), said, self.local(true).isoformat())

    def _is_date(self, said: str, true: date_type) -> bool:
        found = _DATE.fullmatch(said)
        if found is None:
            return False
        year = int(found[3] or self.local(self.clock.now).year)
        return (int(found[1]), found[2], year) == (true.day, MONTHS[true.month - 1], true.year)

    def day(self, said: str, true: datetime) -> None:
        """Judge the heading of a day."""
        day, today = self.local(true).date(), self.local(self.clock.now).date()
        if said in ("Today", "Yesterday"):
            self.says("day", said, {0: "Today", 1: "Yesterday"}.get((today - day).days))
            return
        found = _DAY.fullmatch(said)
        is_true = found is not None and (
            found[1],
            int(found[2]),
            found[3],
            int(found[4] or today.year),
        ) == (WEEKDAYS[day.weekday()], day.day, MONTHS[day.month - 1], day.year)
        self.holds("day", is_true, said, day.isoformat())

    def count(self, kind: str, said: str, true: int) -> None:
        """Judge a count, which is exact or says that there are more."""
        found = _COUNT.search(said)
        if found is None:
            self.holds(kind, said.startswith("No ") and true == 0, said, true)
            return
        number, more = int(found[1]), bool(found[2]) or "more than" in said.lower()
        self.holds(kind, true >= number if more else true == number, said, true)
