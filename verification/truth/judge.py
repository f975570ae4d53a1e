"""The judge: compares every sentence that a page says with what is true in the world at this moment."""

import re
from collections.abc import Iterable, Sequence

from verification.truth.said import (
    BadgeSaid,
    ChoiceSaid,
    DeskSaid,
    FormSaid,
    ListSaid,
    MessageSaid,
    Moment,
    RowSaid,
    ThreadSaid,
)
from verification.truth.sentences import Sentences
from verification.truth.statements import About
from verification.truth.truth import CUSTOMER, WHATSAPP, Change, Customer, Instructor, Message, Thread
from verification.truth.words import (
    BADGES,
    KINDS,
    PAGE,
    QUEUE,
    SIDES,
    WRITTEN,
    around,
    by_newest,
    changed,
    is_done,
    plain,
    previewed,
    says_it,
    shown,
    sought,
)


class Judge(Sentences):
    """Judges what each kind of page says."""

    # Badges

    def badge(self, said: BadgeSaid | None, thread: Thread) -> None:
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

    def inbox(self, said: ListSaid, instructor: Instructor, *, skip: int = 0, term: str = "") -> int:
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
        rows: Sequence[RowSaid],
        instructor: Instructor,
        threads: Sequence[Thread],
        *,
        skip: int = 0,
        size: int = PAGE,
    ) -> None:
        """Judge the rows of a list, which has to hold these conversations in this order, `size` a page."""
        self.says("rows", len(rows), min(size, len(threads) - skip))
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
        self.says("preview", said, *(previewed(row, thread.instructor.name) for row in last))

    # Conversations

    def thread(self, said: ThreadSaid, thread: Thread, *, skip: int = 0, is_page: bool = True) -> int:
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
        for message, expected in zip(
            reversed(said.messages), reversed(thread.messages[begin:end]), strict=False
        ):
            self.message(message, expected, thread, used)
        self.holds("older", (said.older is not None) == (begin > 0), said.older, f"{begin} older messages")
        if said.says_first:
            self.holds("first messages", begin == 0, "The first messages", f"{begin} older messages")
        return end - begin + skip

    @staticmethod
    def named(author: str, instructor: Instructor) -> str:
        """Return what an author is called on a page."""
        return {CUSTOMER: "Customer", WHATSAPP: "WhatsApp"}.get(author, instructor.name)

    def message(self, said: MessageSaid, expected: Message, thread: Thread, used: set[str]) -> None:
        """Judge a message: when, in which place, under which day, by whom, and the words."""
        self.says("sent at", said.when.at, expected.sent_at)
        at = said.when.at
        same = [
            message for message in around(thread.messages, expected, at) if message.external_id not in used
        ]
        true = next((row for row in same if says_it(said, row)), expected)
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

    def desk(self, said: DeskSaid, about: About) -> None:
        """Judge the first page of the linking desk, or the queue beside a form."""
        instructor = about.instructor
        assert instructor
        self.rows(said.rows, instructor, about.threads, size=QUEUE)
        self.queue(said.rows)
        self.count("left", said.left, sum(thread.link is None for thread in instructor.threads.values()))

    def queue(self, rows: Iterable[RowSaid]) -> None:
        """Judge what the desk adds to its rows: badges, and which can't be linked to their number."""
        for row in rows:
            thread = self._by_id.get(row.id)
            if thread and row.badge:
                self.badge(row.badge, thread)
            if thread and row.is_skipped:
                self.holds("skipped", thread.normalized is None, "Not a customer's number", thread.identifier)
            elif thread and not thread.link:
                self.holds("skipped", thread.normalized is not None, "nothing", thread.identifier)

    def form(self, said: FormSaid, thread: Thread, *, term: str = "") -> None:
        """Judge the link form's page."""
        self.names("form heading", said.identifier, thread.identifier)
        if said.first_wrote:
            first = next(message.sent_at for message in thread.messages if message.author != WHATSAPP)
            self.says("first wrote", said.first_wrote.at, first)
            self.date("first wrote day", said.first_wrote.shown, first)
            self.exact("first wrote in full", said.first_wrote.exact, first)
        used: set[str] = set()
        for message, true in zip(reversed(said.talk), reversed(thread.messages), strict=False):
            self.message(message, true, thread, used)
        self.desk(said.desk, About("form", instructor=thread.instructor, linked=False))
        own_reasons = [
            event.reason for event in thread.changes if self.reader and event.actor == self.reader.name
        ]
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
        self.choices(said.choices, said.found, said.no_customer, thread, term=term)
        self.history(said, thread)

    def statement(self, said: FormSaid, thread: Thread) -> None:
        """Judge WhatsApp's newest statement beside the link: when and what, or that there is none."""
        stated = [message for message in thread.messages if message.author == WHATSAPP]
        newest = [item for item in stated if item.sent_at == stated[-1].sent_at]
        true = [f"WhatsApp, {self.full(row.sent_at)}: {plain(row.body)}" for row in newest] or [""]
        self.says("statement", said.statement, *true)

    def choices(
        self, choices: Iterable[ChoiceSaid], found: str, no_customer: str, thread: Thread, *, term: str = ""
    ) -> None:
        """Judge the customers that are offered, and what is said of how many there are."""
        known = {shown(item.identifier): item for item in thread.instructor.customers.values()}
        for choice in choices:
            if not choice.identifier:
                continue
            customer = known.get(choice.identifier)
            self.holds("customer", customer is not None, choice.identifier, "no such customer")
            if customer:
                self.choice(choice, customer, thread)
        is_search = bool(sought(term)) or not term.strip()
        matching = [
            customer_id
            for customer_id in thread.instructor.customers
            if is_search and sought(term).lower() in customer_id.lower()
        ]
        for text in (found, no_customer):
            if "Type more digits" in text:
                offered = {choice.id for choice in choices if choice.id}
                unseen = [row for row in matching if thread.instructor.customers[row].id not in offered]
                self.holds("more customers", bool(unseen), text, len(matching))
            elif text.startswith("No customers"):
                self.holds("no customer", not thread.instructor.customers, text, len(matching))
            elif text.startswith("No customer"):
                is_true = not matching if term else thread.normalized not in thread.instructor.customers
                self.holds("no customer", is_true, text, len(matching))
            elif text:
                self.count("customers found", text, len(matching))

    def choice(self, said: ChoiceSaid, customer: Customer, thread: Thread) -> None:
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

    def history(self, said: FormSaid, thread: Thread) -> None:
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

    def last_change(self, text: str, when: Moment | None, thread: Thread) -> None:
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

    def done(self, said: FormSaid, outcome: str, thread: Thread, change: Change | None) -> None:
        """Judge what the page says after a write that came to this outcome."""
        for flash in said.flashes:
            self.holds("done", is_done(flash, outcome, thread, change), flash, outcome)
        if said.notice:
            nothing = "nothing was saved" in said.notice.lower()
            self.holds("nothing saved", not nothing or outcome not in WRITTEN, said.notice, outcome)
            changed = said.notice.startswith("Someone changed this link after you opened it.")
            self.says("notice", changed, outcome == "stale")
        if outcome in WRITTEN:
            self.holds("silence", bool(said.flashes), "nothing", outcome)
        if outcome == "stale":
            self.holds("conflict told", bool(said.notice), "nothing", outcome)
