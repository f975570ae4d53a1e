"""The console against a simple model: whatever people do, in any order, both come to the same."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from flask.testing import FlaskCliRunner
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from console.identifiers import normalize_identifier
from console.linking.verification import verify
from testkit.factories import Desk, Person, desk, link_state, run, user
from testkit.pages import Browser, fields_of
from verification.faults.databases import Database
from verification.faults.figures import Figures, sizes

SENDERS = ("393331234567", "+39 333 123 4567", "447700900123", "US.13491208655302741918", "40404")

senders = st.sampled_from(SENDERS)
instructors = st.sampled_from((0, 1))
whether = st.booleans()
which = st.integers(min_value=0, max_value=99)


@dataclass
class Thread:
    """What the model knows of a conversation."""

    whose: int
    sender: str
    customer: str | None = None
    version: int = 0


@dataclass
class Instructor:
    """What the model knows of an instructor: their customers' ids, by normalised identifier."""

    desk: Desk
    customers: dict[str, UUID] = field(default_factory=dict)


class Console(RuleBasedStateMachine):
    """Everything that people and messages do to the console; each run has two instructors of its own."""

    database: Database
    cli: FlaskCliRunner
    app: Any
    done: list[str]

    @initialize()
    def open(self) -> None:
        """Set up two instructors, an operator of both, and one who was signed in and then disabled."""
        self.threads: dict[UUID, Thread] = {}
        self.broken = False
        first = desk(self.cli, "Anna")
        second = Desk(self.cli, *_other(self.cli, first))
        self.instructors = [Instructor(first), Instructor(second)]
        self.operator, self.disabled = Browser(self.app), Browser(self.app)
        gone = user(self.cli, first.instructor_id)
        for browser, person in ((self.operator, first.operator), (self.disabled, gone)):
            assert browser.sign_in(person.email, person.password).status_code == 303
        run(self.cli, "user", "disable", gone.email)
        self.token = fields_of(self.operator.get_page("/conversations"))["csrf_token"]
        for whose in (0, 1):
            self.ingest(whose, SENDERS[0])

    def teardown(self) -> None:
        """Leave the audit as it was."""
        if self.broken:
            self.repair()

    def pick(self, number: int) -> tuple[UUID, Thread]:
        """Choose one of the conversations."""
        return list(self.threads.items())[number % len(self.threads)]

    def post(self, path: str, **fields: object) -> int:
        """Send a form, and count it."""
        self.done.append(path.rpartition("/")[2])
        data = {
            "csrf_token": self.token,
            "reason": "the model says so",
            "operation_id": uuid4(),
            **fields,
        }
        sent = {name: str(value) for name, value in data.items() if value is not False}
        return self.operator.http.post(path, data=sent).status_code

    @rule(whose=instructors, sender=senders)
    def ingest(self, whose: int, sender: str) -> None:
        """A customer writes: into their thread, or into a new one, which is not linked."""
        conversation_id = self.instructors[whose].desk.conversation(sender)
        thread = self.threads.setdefault(conversation_id, Thread(whose, sender))
        assert (thread.whose, thread.sender) == (whose, sender)
        self.done.append("ingest")

    @precondition(lambda self: self.threads)
    @rule(number=which, overwrite=whether)
    def create(self, number: int, overwrite: bool) -> None:
        """Link to a customer of the conversation's own identifier."""
        conversation_id, thread = self.pick(number)
        known = self.instructors[thread.whose].customers
        identifier = normalize_identifier(thread.sender)
        status = self.post(
            f"/links/{conversation_id}", create=1, seen_version=thread.version, overwrite=overwrite and 1
        )
        if identifier is None or identifier in known:
            assert status == 422
        elif thread.customer and not overwrite:
            assert status == 409
        else:
            assert status == 303
            customer_id = link_state(conversation_id).customer_id
            assert customer_id
            assert customer_id not in known.values()
            known[identifier] = customer_id
            self.changed(thread, identifier)

    @precondition(lambda self: self.threads)
    @rule(number=which, customer=which, overwrite=whether, stale=whether)
    def link(self, number: int, customer: int, overwrite: bool, stale: bool) -> None:
        """Link to a customer on record, over what was seen or over something older."""
        conversation_id, thread = self.pick(number)
        known = self.instructors[thread.whose].customers
        if not known:
            return
        identifier = sorted(known)[customer % len(known)]
        status = self.post(
            f"/links/{conversation_id}",
            customer_id=known[identifier],
            seen_version=thread.version + (1 if stale else 0),
            overwrite=overwrite and 1,
        )
        if stale:
            assert status == 409
        elif identifier == thread.customer:
            assert status == 303
        elif thread.customer and not overwrite:
            assert status == 409
        else:
            assert status == 303
            self.changed(thread, identifier)

    @precondition(lambda self: self.threads)
    @rule(number=which, confirm=whether, stale=whether)
    def unlink(self, number: int, confirm: bool, stale: bool) -> None:
        """Take the customer away."""
        conversation_id, thread = self.pick(number)
        seen = thread.version + (1 if stale else 0)
        status = self.post(f"/links/{conversation_id}/unlink", seen_version=seen, confirm=confirm and 1)
        if stale or (thread.customer and not confirm):
            assert status == 409
            return
        assert status == 303
        if thread.customer:
            self.changed(thread, None)

    @precondition(lambda self: self.threads)
    @rule(number=which)
    def link_to_a_foreign_customer(self, number: int) -> None:
        """Try another instructor's customer."""
        conversation_id, thread = self.pick(number)
        theirs = list(self.instructors[1 - thread.whose].customers.values())
        fields = {"customer_id": theirs[0] if theirs else uuid4(), "overwrite": 1}
        assert self.post(f"/links/{conversation_id}", seen_version=thread.version, **fields) == 422

    @precondition(lambda self: self.threads)
    @rule(number=which)
    def link_as_a_disabled_user(self, number: int) -> None:
        """Try with a session whose user was disabled since."""
        conversation_id, _ = self.pick(number)
        assert self.disabled.http.post(f"/links/{conversation_id}").status_code == 302

    @rule(breaks=whether)
    def keep_the_trail(self, breaks: bool) -> None:
        """Lose the trail for a while, or have it back and move what waits."""
        if self.broken:
            self.repair()
        elif breaks:
            self.database.execute("ALTER TABLE audit_events RENAME TO mislaid")
            self.broken = True
            return
        run(self.cli, "audit", "drain")
        assert all(link_state(thread).outbox is None for thread in self.threads)

    def repair(self) -> None:
        """Have the trail back."""
        self.database.execute("ALTER TABLE mislaid RENAME TO audit_events")
        self.broken = False

    @staticmethod
    def changed(thread: Thread, customer: str | None) -> None:
        """Note in the model that a write was done."""
        thread.customer = customer
        thread.version += 1

    @invariant()
    def links_are_the_models(self) -> None:
        """A link changes by what people did and by nothing else."""
        for conversation_id, thread in getattr(self, "threads", {}).items():
            known = self.instructors[thread.whose].customers
            expected = known[thread.customer] if thread.customer else None
            state = link_state(conversation_id)
            assert (state.customer_id, state.link_version) == (expected, thread.version)

    @invariant()
    def badges_are_the_models(self) -> None:
        """The badge says what the model says."""
        threads = getattr(self, "threads", {})
        if not threads:
            return
        answer = self.operator.http.get("/badges", query_string={"id": list(threads)})
        shown = [badge["data-state"] for badge in Browser.parse(answer.text).select(".badge")]
        assert shown == [self.badge(thread) for thread in threads.values()]

    def badge(self, thread: Thread) -> str:
        """Return the state that the model expects."""
        if thread.customer:
            return "known"
        on_record = normalize_identifier(thread.sender) in self.instructors[thread.whose].customers
        return "new" if on_record else "unlinked"

    @invariant()
    def events_explain_every_link(self) -> None:
        """Folding the events gives the state, wherever they are."""
        if not getattr(self, "broken", True):
            assert [problem for _, problem in verify() if problem] == []


def _other(cli: FlaskCliRunner, first: Desk) -> tuple[UUID, str, Person]:
    """Make a second instructor, whose operator is the first one's as well."""
    second = desk(cli, "Bruno")
    user(cli, second.instructor_id, email=first.operator.email)
    return second.instructor_id, second.phone_number_id, first.operator


@sizes(short={"examples": 4, "steps": 25}, full={"examples": 100, "steps": 60})
def test_the_console_is_its_model(
    size: dict[str, int], database: Database, cli: FlaskCliRunner, app: Any, figures: Figures
):
    done: list[str] = []
    here = {"database": database, "cli": cli, "app": app, "done": done}
    run_state_machine_as_test(
        type("ConsoleHere", (Console,), here),
        settings=settings(
            max_examples=size["examples"],
            stateful_step_count=size["steps"],
            deadline=None,
            derandomize=size["examples"] < 100,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert "unlink" in done
    figures("steps that wrote, or tried to", len(done))
