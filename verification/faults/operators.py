"""Many operators at once, in several processes, and the record of every call they made."""

import base64
import http.client
import random
import threading
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from uuid import uuid4

from verification.faults.history import Answer, Call
from verification.faults.server import NotSignedIn, Reply, Visitor
from verification.faults.world import World, address

CHANGED = "Someone changed this link"
USED_BEFORE = "This form was already used"

SENDS_AGAIN = 0.8
"""How often an operator who was told of a change looks, and sends again over what it is now."""
HANGS_UP = 0.05
"""How often an operator opens another connection: while one is kept, one worker answers all that is sent."""


class Unexpected(Exception):
    """An answer that no operator should ever get."""


@dataclass(frozen=True)
class Assignment:
    """What one process is to do."""

    port: int
    world: World
    operators: tuple[int, ...]
    calls: int
    seed: int


def operate(port: int, world: World, *, processes: int, calls: int) -> list[Call]:
    """Let all operators of a world make so many calls together; return the calls."""
    every_operator = range(len(world.operator_ids))
    assignments = [
        Assignment(port, world, tuple(every_operator[number::processes]), calls // processes, number)
        for number in range(processes)
    ]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return [call for done in pool.map(_operate, assignments) for call in done]


def _operate(assignment: Assignment) -> list[Call]:
    """Be several operators, each in a thread, who share what they learn of the conversations."""
    office = _Office(assignment.world)
    share = assignment.calls // len(assignment.operators)
    people = [
        _Operator(office, assignment, number, share + (place < assignment.calls % len(assignment.operators)))
        for place, number in enumerate(assignment.operators)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    failures = [person.failure for person in people if person.failure]
    if failures:
        raise failures[0]
    return [call for person in people for call in person.calls]


class _Office:
    """What the operators of one process know: the version of each link that one of them saw last."""

    def __init__(self, world: World) -> None:
        self.conversations = [str(conversation_id) for conversation_id in world.conversation_ids]
        self.customers = [str(customer_id) for customer_id in world.customer_ids]
        self.versions = dict.fromkeys(self.conversations, 0)

    def learn(self, conversation: str, version: int) -> None:
        """Remember a version."""
        self.versions[conversation] = max(version, self.versions[conversation])


class _Operator(threading.Thread):
    """One operator, who makes one call after the other."""

    def __init__(self, office: _Office, assignment: Assignment, number: int, calls: int) -> None:
        super().__init__()
        self.office = office
        self.id = assignment.world.operator_ids[number]
        self.visitor = Visitor(assignment.port)
        self.chance = random.Random(f"{assignment.seed} {number}")
        self.left = calls
        self.calls: list[Call] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self._sign_in()
            for _ in range(self.left):
                self._call()
        except Exception as error:
            self.failure = error
        finally:
            self.visitor.close()

    def _sign_in(self) -> None:
        for attempt in range(20):
            try:
                self.visitor.sign_in(address(self.id))
                page = self.visitor.get(f"/links/{self.office.conversations[0]}")
            except (OSError, http.client.HTTPException, NotSignedIn):
                time.sleep(0.1 * attempt)
                continue
            if token := page.field("csrf_token"):
                self.visitor.token = token
                return
        raise Unexpected("no answer comes")

    def _call(self) -> None:
        if self.chance.random() < HANGS_UP:
            self.visitor.close()
        asked = self._repeat() if self.calls and self.chance.random() < 0.15 else self._ask()
        try:
            reply = self._send(asked)
        except (OSError, http.client.HTTPException):
            self.calls.append(replace(asked, end=time.monotonic()))
            time.sleep(0.02)
            return
        self.calls.append(self._read(replace(asked, end=time.monotonic()), reply))

    def _ask(self) -> Call:
        """Ask for something new: mostly over what was seen last, sometimes over what was seen long ago."""
        if self.calls and self.calls[-1].answer == Answer.STALE and self.chance.random() < SENDS_AGAIN:
            conversation, late = self.calls[-1].conversation, 0
        else:
            # A few conversations are worked on by all, most by few.
            place = int(len(self.office.conversations) * self.chance.random() ** 3)
            conversation, late = self.office.conversations[place], self.chance.choice([0, 0, 0, 0, 0, 1, 2])
        return Call(
            conversation=conversation,
            operation=str(uuid4()),
            actor=str(self.id),
            reason="a reason",
            wanted=self.chance.choice([None, *self.office.customers]),
            seen=max(0, self.office.versions[conversation] - late),
            start=time.monotonic(),
            end=time.monotonic(),
            answer=Answer.NONE,
        )

    def _repeat(self) -> Call:
        """Send again what got no answer, or another of the last; now and then with something else in it."""
        last = self.calls[-1]
        again = last if last.answer == Answer.NONE else self.chance.choice(self.calls[-3:])
        wanted = self.chance.choice(self.office.customers) if self.chance.random() < 0.1 else again.wanted
        return replace(again, wanted=wanted, start=time.monotonic(), answer=Answer.NONE, shown=None)

    def _send(self, call: Call) -> Reply:
        fields = {
            "csrf_token": self.visitor.token,
            "reason": call.reason,
            "seen_version": str(call.seen),
            "operation_id": call.operation,
        }
        if call.wanted is None:
            return self.visitor.post(f"/links/{call.conversation}/unlink", {**fields, "confirm": "1"})
        chosen = {"customer_id": call.wanted, "overwrite": "1"}
        return self.visitor.post(f"/links/{call.conversation}", {**fields, **chosen})

    def _read(self, call: Call, reply: Reply) -> Call:
        """Read from an answer what became of the call, and what version the link has now."""
        if reply.status == 503:
            time.sleep(0.05)
            return replace(call, answer=Answer.UNAVAILABLE)
        if reply.status == 303 and reply.cookie:
            unchanged = "unchanged " in _session(reply.cookie)
            self.office.learn(call.conversation, call.seen + (not unchanged))
            return replace(call, answer=Answer.UNCHANGED if unchanged else Answer.DONE)
        for notice, answer in ((CHANGED, Answer.STALE), (USED_BEFORE, Answer.REUSED)):
            if reply.status == 409 and notice in reply.text:
                shown = int(reply.field("seen_version") or "")
                self.office.learn(call.conversation, shown)
                return replace(call, answer=answer, shown=shown)
        raise Unexpected(f"{reply.status}: {reply.text}")


def _session(cookie: str) -> str:
    """Read a session as anyone can: it is signed, not sealed."""
    value = cookie.removeprefix("session=")
    payload = value.removeprefix(".").split(".")[0]
    content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return (zlib.decompress(content) if value.startswith(".") else content).decode()
