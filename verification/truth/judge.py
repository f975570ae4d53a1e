"""The judge: compares every sentence that a page says with what is true in the world at this moment."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date as date_type
from datetime import datetime
from zoneinfo import ZoneInfo

from verification.truth import pages
from verification.truth.clock import Clock
from verification.truth.statements import About, sought
from verification.truth.truth import (
    CUSTOMER,
    INSTRUCTOR,
    WHATSAPP,
    Change,
    Customer,
    Instructor,
    Message,
    Thread,
    Truth,
    User,
)

PAGE = 50
MAX_CUSTOMERS = 20
MAX_EXAMPLES = 3

BADGES = {
    "known": ("Known customer", "Linked to a customer on record"),
    "new": ("New customer", "On record, not linked to this conversation"),
    "unlinked": ("Unlinked", "Customer not resolved"),
}
SIDES = {CUSTOMER: "inbound", INSTRUCTOR: "outbound", WHATSAPP: "system"}
KINDS = {
    "audio": "Audio",
    "button": "Reply",
    "document": "Document",
    "image": "Photo",
    "interactive": "Interactive",
    "location": "Location",
    "sticker": "Sticker",
    "text": "Text",
    "video": "Video",
}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

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


class Judge:
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

    def thread_of(self, instructor: Instructor, row: pages.RowSaid) -> Thread | None:
        """Return whose conversation a row is; the first time that its id is seen, by its identifier."""
        thread = self._by_id.get(row.id)
        if thread is None:
            unseen = [
                one
                for one in instructor.threads.values()
                if one.id is None and _is_shown_as(one, row.identifier)
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

    # Badges

    def badge(self, said: pages.BadgeSaid | None, thread: Thread) -> None:
        """Judge a badge: its state, its label and its second line."""
        state = thread.state
        if self.truth.lookups_fail and state == "new":
            state = "unlinked"
        label, copy = BADGES[state]
        self.unmade += said is not None and said.state == "known" != state
        if said is None:
            self.holds("badge", False, "nothing", state)
            return
        self.says("badge", said.state, state)
        self.says("badge label", said.label, label)
        self.says("badge copy", said.copy, copy)

    # Lists

    def inbox(self, said: pages.ListSaid, instructor: Instructor, *, skip: int = 0, term: str = "") -> int:
        """Judge a page of a list; return how many conversations were on this page and the newer ones."""
        threads = by_newest(instructor, term)
        self.rows(said.rows, instructor, threads, skip=skip)
        for row in said.rows:
            if thread := self._by_id.get(row.id):
                self.badge(row.badge, thread)
        done = skip + len(said.rows)
        self.holds(
            "older", (said.older is not None) == (done < len(threads)), said.older, len(threads) - done
        )
        if term and said.found:
            self.count("found", said.found, len(threads))
        return done

    def rows(
        self,
        rows: Sequence[pages.RowSaid],
        instructor: Instructor,
        threads: Sequence[Thread],
        *,
        skip: int = 0,
    ) -> None:
        """Judge the rows of a list, which has to hold these conversations in this order."""
        self.says("rows", len(rows), min(PAGE, len(threads) - skip))
        seen = set()
        for row, expected in zip(rows, threads[skip:], strict=False):
            thread = self.thread_of(instructor, row)
            if thread is None:
                continue
            self.holds("twice", row.id not in seen, row.identifier)
            self.holds("listed", thread in threads, row.identifier)
            seen.add(row.id)
            self.says("order", thread.newest, expected.newest)
            self.says("newest", row.when.at, thread.newest)
            self.exact("newest in full", row.when.exact, thread.newest)
            self.ago(row.when.shown, thread.newest)
            self.preview(row.preview, thread)

    def preview(self, said: str, thread: Thread) -> None:
        """Judge the last message of a conversation, and who wrote it."""
        last = thread.newest_candidates()
        self.says("preview", said, *(previewed(one, thread.instructor.name) for one in last))

    def count(self, kind: str, said: str, true: int) -> None:
        """Judge a count, which is exact or says that there are more."""
        found = _COUNT.search(said)
        if found is None:
            self.holds(kind, said.startswith("No ") and true == 0, said, true)
            return
        number, more = int(found[1]), bool(found[2]) or "more than" in said.lower()
        self.holds(kind, true >= number if more else true == number, said, true)

    # Conversations

    def thread(self, said: pages.ThreadSaid, thread: Thread, *, skip: int = 0, is_page: bool = True) -> int:
        """Judge a page of a conversation; return how many messages were on this page and the newer ones."""
        if is_page:
            self.names("heading", said.identifier, thread.identifier)
            self.badge(said.badge, thread)
        end = len(thread.messages) - skip
        begin = max(0, end - PAGE)
        self.says("messages", len(said.messages), end - begin)
        self.lost += max(0, end - begin - len(said.messages))
        self.doubled += max(0, len(said.messages) - (end - begin))
        used: set[str] = set()
        for one, expected in zip(reversed(said.messages), reversed(thread.messages[begin:end]), strict=False):
            self.message(one, expected, thread, used)
        self.holds("older", (said.older is not None) == (begin > 0), said.older, f"{begin} older messages")
        if said.says_first:
            self.holds("first messages", begin == 0, "The first messages", f"{begin} older messages")
        return end - begin + skip

    @staticmethod
    def named(author: str, instructor: Instructor) -> str:
        """Return what an author is called on a page."""
        return {CUSTOMER: "Customer", WHATSAPP: "WhatsApp"}.get(author, instructor.name)

    def message(self, said: pages.MessageSaid, expected: Message, thread: Thread, used: set[str]) -> None:
        """Judge a message: when, in which place, under which day, by whom, and the words."""
        self.says("sent at", said.when.at, expected.sent_at)
        at = said.when.at
        same = [one for one in _around(thread.messages, expected, at) if one.external_id not in used]
        true = next((one for one in same if _says(said, one)), expected)
        used.add(true.external_id)
        self.says("author", said.author, self.named(true.author, thread.instructor))
        self.says("side", said.side, SIDES[true.author])
        if true.author != WHATSAPP:
            self.says("kind", said.kind, "" if true.kind == "text" and true.body else KINDS[true.kind])
        self.says("words", said.body, plain(true.body))
        self.exact("sent in full", said.when.exact, true.sent_at)
        self.says("clock", said.when.shown, self.hour(true.sent_at))
        self.day(said.day, true.sent_at)

    # The linking desk

    def desk(self, said: pages.DeskSaid, about: About) -> None:
        """Judge the first page of the linking desk, or the queue beside a form."""
        instructor = about.instructor
        assert instructor
        self.rows(said.rows, instructor, about.threads)
        self.queue(said.rows)
        self.count("left", said.left, sum(one.link is None for one in instructor.threads.values()))

    def queue(self, rows: Iterable[pages.RowSaid]) -> None:
        """Judge what the desk adds to its rows: badges, and which can't be linked to their number."""
        for row in rows:
            thread = self._by_id.get(row.id)
            if thread and row.badge:
                self.badge(row.badge, thread)
            if thread and row.is_skipped:
                self.holds("skipped", thread.normalized is None, "Not a customer's number", thread.identifier)
            elif thread and not thread.link:
                self.holds("skipped", thread.normalized is not None, "nothing", thread.identifier)

    def form(self, said: pages.FormSaid, thread: Thread, *, term: str = "") -> None:
        """Judge the link form's page."""
        self.names("form heading", said.identifier, thread.identifier)
        if said.first_wrote:
            first = next(one.sent_at for one in thread.messages if one.author != WHATSAPP)
            self.says("first wrote", said.first_wrote.at, first)
            self.date("first wrote day", said.first_wrote.shown, first)
            self.exact("first wrote in full", said.first_wrote.exact, first)
        used: set[str] = set()
        for one, true in zip(reversed(said.talk), reversed(thread.messages), strict=False):
            self.message(one, true, thread, used)
        self.desk(said.desk, About("form", instructor=thread.instructor, linked=False))
        own_reasons = [one.reason for one in thread.changes if self.reader and one.actor == self.reader.name]
        for reason in said.recent:
            self.says("recent reason", reason, *own_reasons)
        link = thread.link
        self.says("linked to", said.linked_to, shown(link.identifier) if link else None)
        if link and not self.truth.trail_fails:
            self.says(
                "linked since",
                said.linked_since and said.linked_since.shown,
                self.full(thread.changes[-1].at),
            )
        self.statement(said, thread)
        self.unmade += said.linked_to is not None and link is None
        own = thread.instructor.customers.get(thread.normalized or "")
        offered = {choice.identifier for choice in said.choices}
        if not term:
            expected = shown(thread.normalized) if thread.normalized and own is None else None
            self.says("creatable", said.creatable, expected)
            if own:
                self.holds("own customer", shown(own.identifier) in offered, offered, own.identifier)
        self.choices(said.choices, said.found, said.nobody, thread, term=term)
        self.history(said, thread)

    def statement(self, said: pages.FormSaid, thread: Thread) -> None:
        """Judge WhatsApp's newest statement beside the link: when and what, or that there is none."""
        stated = [one for one in thread.messages if one.author == WHATSAPP]
        newest = [one for one in stated if one.sent_at == stated[-1].sent_at]
        true = [f"WhatsApp, {self.full(one.sent_at)}: {plain(one.body)}" for one in newest] or [""]
        self.says("statement", said.statement, *true)

    def choices(
        self, choices: Iterable[pages.ChoiceSaid], found: str, nobody: str, thread: Thread, *, term: str = ""
    ) -> None:
        """Judge the customers that are offered, and what is said of how many there are."""
        known = {shown(one.identifier): one for one in thread.instructor.customers.values()}
        for choice in choices:
            if not choice.identifier:
                continue
            customer = known.get(choice.identifier)
            self.holds("customer", customer is not None, choice.identifier, "no such customer")
            if customer:
                self.choice(choice, customer, thread)
        is_search = bool(sought(term)) or not term.strip()
        matching = [one for one in thread.instructor.customers if is_search and sought(term) in one]
        for text in (found, nobody):
            if "Type more digits" in text:
                offered = {choice.id for choice in choices if choice.id}
                unseen = [one for one in matching if thread.instructor.customers[one].id not in offered]
                self.holds("more customers", bool(unseen), text, len(matching))
            elif text.startswith("No customers"):
                self.holds("no customer", not thread.instructor.customers, text, len(matching))
            elif text.startswith("No customer"):
                is_true = not matching if term else thread.normalized not in thread.instructor.customers
                self.holds("no customer", is_true, text, len(matching))
            elif text:
                self.count("customers found", text, len(matching))

    def choice(self, said: pages.ChoiceSaid, customer: Customer, thread: Thread) -> None:
        """Judge what is said of a customer to choose."""
        customer.id = customer.id or said.id
        self.says("customer id", said.id, customer.id)
        if said.since:
            self.says("customer since", said.since.at, customer.created_at.replace(microsecond=0))
            self.date("customer since day", said.since.shown, customer.created_at)
        if "this conversation’s number" in said.note:
            self.says("own number", said.identifier, shown(thread.normalized))
        if "linked" in said.note:
            linked = re.findall(r"(\d+)\sconversations?\slinked", said.note)
            self.says("customer's links", linked, [str(thread.instructor.linked_to(customer))])

    def history(self, said: pages.FormSaid, thread: Thread) -> None:
        """Judge the link history: every change, newest first, and how many older ones there are."""
        if said.events is None:
            self.holds("history away", self.truth.trail_fails, "The history can’t be read", "it can")
            return
        self.holds("never linked", said.says_never_linked == (not thread.changes), said.says_never_linked)
        self.says("changes", len(said.events) + said.older_events, len(thread.changes))
        for event, change in zip(said.events, reversed(thread.changes), strict=False):
            self.says("who linked", event.actor, change.actor)
            self.says("reason", event.reason, plain(change.reason))
            self.says("linked at", event.when.at, change.at.replace(microsecond=0))
            self.exact("linked at in full", event.when.shown, change.at)
            self.says("what was linked", event.identifiers, changed(change))
            verb = "removed" if not change.new else "replaced" if change.previous else "linked this"
            self.holds("how it was linked", verb in event.sentence, event.sentence, verb)
            self.says("created", "the new customer" in event.sentence, change.created)

    def last_change(self, text: str, when: pages.Moment | None, thread: Thread) -> None:
        """Judge by whom, when and why a link was changed last, as a dialog or a conflict says it."""
        change = thread.changes[-1]
        if self.truth.trail_fails and when is None:
            self.holds("unknown change", change.actor not in text, text)
            return
        self.holds("changed by", change.actor in text, text, change.actor)
        self.holds("changed because", plain(change.reason) in text, text, change.reason)
        self.says("changed at", when and when.at, change.at.replace(microsecond=0))
        if when:
            self.exact("changed at in full", when.exact or when.shown, change.at)

    # What was done

    def done(self, said: pages.FormSaid, outcome: str, thread: Thread, change: Change | None) -> None:
        """Judge what the page says after a write that came to this outcome."""
        for flash in said.flashes:
            self.holds("done", _is_done(flash, outcome, thread, change), flash, outcome)
        if said.notice:
            nothing = "nothing was saved" in said.notice.lower()
            self.holds("nothing saved", not nothing or outcome not in WRITTEN, said.notice, outcome)
            changed = said.notice.startswith("Someone changed this link after you opened it.")
            self.says("notice", changed, outcome == "stale")
        if outcome in WRITTEN:
            self.holds("silence", bool(said.flashes), "nothing", outcome)
        if outcome == "stale":
            self.holds("conflict told", bool(said.notice), "nothing", outcome)


WRITTEN = ("linked", "relinked", "unlinked")

_DONE = (
    (re.compile(r"Linked\."), ("linked", "relinked")),
    (re.compile(r"Link removed\."), ("unlinked",)),
    (re.compile(r"Nothing to change: it is so already\."), ("unchanged",)),
    (re.compile(r"The change to (?P<thread>.+) was saved\."), ("linked", "relinked", "unlinked")),
    (re.compile(r"Linked (?P<thread>.+) to (?P<new>.+)\."), ("linked",)),
    (re.compile(r"Replaced (?P<old>.+) with (?P<new>.+)\."), ("relinked",)),
    (re.compile(r"Removed the link to (?P<old>.+)\."), ("unlinked",)),
    (re.compile(r"Already linked to (?P<now>.+)\. Nothing was changed\."), ("unchanged",)),
)


def _is_done(flash: str, outcome: str, thread: Thread, change: Change | None) -> bool:
    true = {
        "thread": thread.identifier,
        "now": thread.link.identifier if thread.link else None,
        "new": change.new.identifier if change and change.new else None,
        "old": change.previous.identifier if change and change.previous else None,
    }
    for pattern, outcomes in _DONE:
        if found := pattern.fullmatch(flash):
            named = {name: re.sub(r"\s", "", said) for name, said in found.groupdict().items()}
            return outcome in outcomes and all(said == shown(true[name]) for name, said in named.items())
    return False


def shown(identifier: str | None) -> str:
    """Return an identifier as a page shows it, without the spaces between groups."""
    if identifier and identifier.isdigit() and len(identifier) >= 8:
        return f"+{identifier}"
    return identifier or ""


def plain(text: str | None) -> str:
    """Return a text as it reads on a page: white space is one space."""
    return " ".join((text or "").split())


def previewed(message: Message, author: str) -> str:
    """Return a message as the last of a conversation reads in a list; `author` is the instructor's name."""
    body = plain(message.body)
    if message.author == WHATSAPP:
        return f"WhatsApp: {body}"
    is_text = message.kind == "text" and body
    words = body if is_text else " · ".join(filter(None, (KINDS[message.kind], body)))
    return f"{author}: {words}" if message.author == INSTRUCTOR else words


def changed(change: Change) -> tuple[str, ...]:
    """Return the identifiers that a line of the history names, in its order."""
    named: tuple[Customer | None, ...] = (change.previous, change.new)
    return tuple(shown(one.identifier) for one in named if one)


def by_newest(instructor: Instructor, term: str = "") -> list[Thread]:
    """Return an instructor's conversations with this in their identifier, newest message first."""
    term = sought(term)
    found = [one for one in instructor.threads.values() if term.lower() in one.identifier.lower()]
    return sorted(found, key=lambda one: one.newest, reverse=True)


def _is_shown_as(thread: Thread, said: str) -> bool:
    head, _, tail = said.partition("…")
    true = shown(thread.identifier)
    return true.startswith(head) and true.endswith(tail) if tail else true == said


def _around(messages: Sequence[Message], expected: Message, at: datetime) -> list[Message]:
    """Return the messages of the second at which a message is said to be sent."""
    if expected.sent_at != at:
        return []
    place = messages.index(expected)
    near = messages[max(0, place - 12) : place + 13]
    return [one for one in near if one.sent_at == at]


def _says(said: pages.MessageSaid, message: Message) -> bool:
    kind = "" if message.kind == "text" and message.body else KINDS.get(message.kind, "")
    is_kind = message.author == WHATSAPP or said.kind == kind
    return said.side == SIDES[message.author] and said.body == plain(message.body) and is_kind
