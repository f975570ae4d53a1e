"""The crash sweep: every scenario, killed at every boundary, once and again and again, then started anew."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any, ParamSpec, TypeVar
from uuid import UUID, uuid4

from flask import Flask

from console import create_app
from console.config import Settings
from console.database import command_scope
from console.linking import audit, service
from console.linking.verification import verify
from testkit.databases import execute
from testkit.factories import heal, link_state, trail
from verification.faults.boundaries import Run, run
from verification.faults.world import World, populate

RETRIES = 3
"""How often a persistent fault kills the same operation, before it is lifted."""

FEWEST_BOUNDARIES = 10
MAX_CASES = 600

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Tally:
    """What a sweep did."""

    kills: int = 0
    acknowledged: int = 0
    restarts: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        """Return both together."""
        return Tally(
            self.kills + other.kills, self.acknowledged + other.acknowledged, self.restarts + other.restarts
        )


@dataclass(frozen=True)
class Case:
    """One conversation in one scenario, and the operations that were asked of it."""

    world: World
    conversation_id: UUID
    prepared: tuple[UUID, ...]
    operation_id: UUID

    def link(self, customer: int, version: int, operation_id: UUID) -> service.LinkOutcome:
        """Link to one of the world's customers."""
        customer_id = self.world.customer_ids[customer]
        return self.change(version, operation_id, customer_id=customer_id, confirmed=True)

    def change(self, version: int, operation_id: UUID, **asked: Any) -> service.LinkOutcome:
        """Change the link over the version that was seen."""
        request = service.LinkRequest(
            conversation_id=self.conversation_id,
            actor_id=self.world.operator_ids[0],
            reason="a reason",
            seen_version=version,
            operation_id=operation_id,
            **asked,
        )
        return service.change(request, command_scope())


def link(case: Case) -> str:
    """Link what has no customer."""
    return case.link(0, 0, case.operation_id)


def relink(case: Case) -> str:
    """Link what has a customer to another."""
    return case.link(1, 1, case.operation_id)


def unlink(case: Case) -> str:
    """Take the customer away."""
    return case.change(1, case.operation_id, unlink=True, confirmed=True)


def create_and_link(case: Case) -> str:
    """Create the customer of the conversation's identifier, and link."""
    return case.change(0, case.operation_id, create=True)


def drain(_case: Case) -> str:
    """Move every event that waits."""
    audit.drain()
    return "drained"


@dataclass(frozen=True)
class Scenario:
    """What is done, what a success answers, and how often it was linked before.

    With `waiting` the events of before wait in the outbox; with `broken` the trail isn't there meanwhile.
    """

    act: Callable[[Case], str]
    answer: str
    prepared: int = 0
    waiting: bool = False
    broken: bool = False

    def run(self, case: Case, die_at: int | None = None) -> Run:
        """Do it in a process of its own, which may die of it."""
        with mislaid() if self.broken else nullcontext():
            return run(partial(self.act, case), die_at)


SCENARIOS = (
    Scenario(link, "linked"),
    Scenario(relink, "linked", prepared=1),
    Scenario(unlink, "unlinked", prepared=1),
    Scenario(create_and_link, "linked"),
    Scenario(drain, "drained", prepared=1, waiting=True),
    Scenario(relink, "linked", prepared=1, waiting=True),
    Scenario(link, "linked", broken=True),
)


@contextmanager
def mislaid() -> Iterator[None]:
    """Take the trail away, and put it back in the end."""
    execute("ALTER TABLE audit_events RENAME TO mislaid")
    yield
    execute("ALTER TABLE mislaid RENAME TO audit_events")


def apart(function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Call a function in a process of its own that has one thread, and can be forked."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **keywords).result()


def sweep(settings: Settings, *, every: int, rounds: int) -> Tally:
    """Kill every scenario at every boundary (or at every so-many-th); check what each restart finds."""
    app = create_app(replace(settings, log_level="critical"))
    with app.app_context():
        tally = sum((_sweep(app, scenario, every, rounds) for scenario in SCENARIOS), Tally())
        broken = [problem for _, problem in verify() if problem]
        assert not broken, broken
        return tally


def _sweep(app: Flask, scenario: Scenario, every: int, rounds: int) -> Tally:
    tally, cases = Tally(), _cases(scenario, MAX_CASES)
    boundaries = scenario.run(next(cases)).boundaries
    assert boundaries >= FEWEST_BOUNDARIES, f"only {boundaries} boundaries"
    for round_ in range(rounds):
        for boundary in range(1 + round_ % every, boundaries + 1, every):
            tally += _kill_once(app, scenario, next(cases), boundary)
            tally += _kill_until_lifted(app, scenario, next(cases), boundary)
    return tally


def _cases(scenario: Scenario, count: int) -> Iterator[Case]:
    """Give conversations, each linked as often as the scenario starts from."""
    world = populate(conversations=count)
    for conversation_id in world.conversation_ids:
        case = Case(world, conversation_id, tuple(uuid4() for _ in range(scenario.prepared)), uuid4())
        with mislaid() if scenario.waiting else nullcontext():
            for version, operation_id in enumerate(case.prepared):
                case.link(0, version, operation_id)
        yield case


def _kill_once(app: Flask, scenario: Scenario, case: Case, boundary: int) -> Tally:
    """Kill it, start again, and let the person repeat what got no answer."""
    died = scenario.run(case, boundary)
    assert died.killed, died
    _restart(app, case, died)
    _finish(app, scenario, case)
    return Tally(kills=1, acknowledged=1, restarts=1)


def _kill_until_lifted(app: Flask, scenario: Scenario, case: Case, boundary: int) -> Tally:
    """Kill it and each retry at the same boundary, with no start between, until the fault is lifted."""
    kills = 0
    for _ in range(RETRIES):
        died = scenario.run(case, boundary)
        kills += died.killed
        if not died.killed:  # a retry of what was done already has fewer boundaries
            assert died.answer == scenario.answer, died
    assert kills
    _restart(app, case, died)
    _finish(app, scenario, case)
    return Tally(kills=kills, acknowledged=1, restarts=1)


def _restart(app: Flask, case: Case, died: Run) -> None:
    heal()
    acknowledged = died.answer is not None and died.answer != "drained"
    explain(
        case.conversation_id,
        attempted={*case.prepared, case.operation_id},
        acknowledged={*case.prepared, case.operation_id} if acknowledged else {*case.prepared},
    )


def _finish(app: Flask, scenario: Scenario, case: Case) -> None:
    done = run(partial(scenario.act, case))
    assert done.answer == scenario.answer, done
    heal()  # on a busy machine the trail may have been too slow for the write
    expected = {*case.prepared} | (set() if scenario.act is drain else {case.operation_id})
    explain(case.conversation_id, attempted=expected, acknowledged=expected)


def explain(conversation_id: UUID, *, attempted: set[UUID], acknowledged: set[UUID]) -> None:
    """Check a conversation after a restart: nothing lost, doubled, invented or waiting."""
    state, events = link_state(conversation_id), trail(conversation_id)
    ids = [UUID(event["event_id"]) for event in events]
    assert state.outbox is None, f"{conversation_id}: events still wait: {state.outbox}"
    assert len(ids) == len(set(ids)), f"{conversation_id}: duplicate events"
    assert set(ids) <= attempted, f"{conversation_id}: invented events {set(ids) - attempted}"
    assert acknowledged <= set(ids), f"{conversation_id}: lost events {acknowledged - set(ids)}"
    assert [event["sequence"] for event in events] == list(range(1, state.link_version + 1)), events
    last = events[-1]["new_customer_id"] if events else None
    assert last == (str(state.customer_id) if state.customer_id else None), f"{conversation_id}: {events}"
