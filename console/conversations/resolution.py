"""Which customer a conversation is with (CM-2.1). Reads; has no way to write."""

import json
from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection, Executable, String, and_, cast, select
from sqlalchemy.exc import SQLAlchemyError

from console.database import Guid, among, json_rows, not_searched, numbered
from console.identifiers import normalize_identifier
from console.models import Customer

log = structlog.get_logger()

Key = tuple[str, str, str]


class Outcome(StrEnum):
    """How a conversation resolves."""

    LINKED = "linked"
    MATCH = "match"
    NONE = "none"


class Reason(StrEnum):
    """Why a conversation resolves to no customer."""

    NO_IDENTIFIER = "no_identifier"
    INVALID_IDENTIFIER = "invalid_identifier"
    NO_INSTRUCTOR = "no_instructor"
    NO_CUSTOMER = "no_customer"
    AMBIGUOUS = "ambiguous"
    LOOKUP_FAILED = "lookup_failed"


_unresolved = Counter(
    "console_resolutions_none", "Conversations that resolved to no customer, and why.", ["reason"]
)
_unresolved_for = {reason: _unresolved.labels(reason) for reason in Reason}


class Subject(NamedTuple):
    """What resolution looks at of a conversation; ids as text, which costs a page less than UUIDs."""

    id: str
    instructor_id: str | None
    channel: str
    customer_identifier: str | None
    customer_id: str | None
    link_known: bool = True
    """Whether `customer_id` could be read."""


class Resolution(NamedTuple):
    """What a conversation resolves to: a customer, or none with a reason."""

    conversation_id: str
    outcome: Outcome
    customer_id: str | None = None
    reason: Reason | None = None


def resolve(connection: Connection, subjects: Sequence[Subject]) -> list[Resolution]:
    """Resolve conversations, in the order given, with at most one statement for all of them.

    A failed lookup is logged and resolves to none: no customer is better than the wrong customer.
    """
    keyed = [(subject, _key(subject) if subject.customer_id is None else None) for subject in subjects]
    wanted = [(place, *key) for place, (_, key) in enumerate(keyed) if isinstance(key, tuple)]
    try:
        found = _customers(connection, wanted) if wanted else {}
    except SQLAlchemyError as error:
        connection.rollback()
        log.error("resolution_lookup_failed", kind=type(error).__name__, conversations=len(wanted))
        found = None
    resolved = [
        _resolve(subject, key, None if found is None else found.get(place, []))
        for place, (subject, key) in enumerate(keyed)
    ]
    reasons = [resolution.reason for resolution in resolved]
    for reason, counted in _unresolved_for.items():
        if count := reasons.count(reason):
            counted.inc(count)
    return resolved


def _key(subject: Subject) -> Key | Reason:
    if not subject.link_known:
        return Reason.LOOKUP_FAILED
    if not subject.customer_identifier:
        return Reason.NO_IDENTIFIER
    normalized = normalize_identifier(subject.customer_identifier)
    if normalized is None:
        return Reason.INVALID_IDENTIFIER
    if subject.instructor_id is None:
        return Reason.NO_INSTRUCTOR
    return subject.instructor_id, subject.channel, normalized


def _customers(connection: Connection, wanted: Sequence[tuple[int, str, str, str]]) -> dict[int, list[str]]:
    found = defaultdict(list)
    instructor_ids = {instructor_id for _, instructor_id, _, _ in wanted}
    asked = {"rows": json.dumps(wanted), **numbered("instructor", map(UUID, instructor_ids))}
    rows = connection.execute(_lookup(connection.dialect.name, len(instructor_ids)), asked).all()
    for place, customer_id in rows:
        found[int(place)].append(customer_id)
    return found


@cache
def _lookup(dialect: str, instructors: int) -> Executable:
    types = (String(), Guid(), String(), String())
    given, (place, instructor_id, channel, identifier) = json_rows(dialect, *types)
    is_key = and_(
        # Named twice: a partitioned table is searched in these instructors' partitions alone.
        among(not_searched(dialect, Customer.instructor_id), "instructor", instructors),
        Customer.instructor_id == instructor_id,
        Customer.channel == channel,
        Customer.normalized_identifier == identifier,
    )
    return select(place, cast(Customer.id, String)).select_from(given).join(Customer, is_key)


def _resolve(subject: Subject, key: Key | Reason | None, found: list[str] | None) -> Resolution:
    if key is None:
        return Resolution(subject.id, Outcome.LINKED, customer_id=subject.customer_id)
    if isinstance(key, Reason):
        return Resolution(subject.id, Outcome.NONE, reason=key)
    if found is None:
        return Resolution(subject.id, Outcome.NONE, reason=Reason.LOOKUP_FAILED)
    match found:
        case []:
            return Resolution(subject.id, Outcome.NONE, reason=Reason.NO_CUSTOMER)
        case [customer_id]:
            return Resolution(subject.id, Outcome.MATCH, customer_id=customer_id)
        case _:
            return Resolution(subject.id, Outcome.NONE, reason=Reason.AMBIGUOUS)
