"""The data: a hundred instructors, and conversations of which every third is linked, matching, or neither.

Every row follows from its number, so a data set of one size is the same wherever it is made. The largest
instructor has 19 % of the conversations (Zipf's law), and each instructor's are spread over all of time.
"""

import math
from bisect import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from typing import Any
from uuid import UUID

INSTRUCTORS = 100
OPERATORS = 5
PASSWORD = "the benchmark's own password"  # noqa: S105 (opens nothing but the benchmark's data)
APP_SECRET = "the benchmark's own app secret"  # noqa: S105 (as above)

_NEWEST = datetime(2026, 11, 1, 12, tzinfo=UTC)
_SHARES = list(accumulate(1 / rank for rank in range(1, INSTRUCTORS + 1)))
# The golden ratio's multiples are spread evenly, and never fall into step with a count.
_GOLDEN = (math.sqrt(5) - 1) / 2

_INSTRUCTOR, _USER, _CONVERSATION, _MESSAGE, _CUSTOMER = range(1, 6)

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """A table's rows, in the order of its primary key."""

    name: str
    columns: tuple[str, ...]
    rows: Iterable[Row]
    count: int


def instructor_id(number: int) -> UUID:
    """Return the id of an instructor; number 0 has the most conversations."""
    return UUID(_id(_INSTRUCTOR, number))


def conversation_id(number: int) -> UUID:
    """Return the id of a conversation."""
    return UUID(_id(_CONVERSATION, number))


def customer_id(number: int) -> UUID:
    """Return the id of the customer whose identifier a conversation has; every third has none."""
    return UUID(_id(_CUSTOMER, number))


def reader_id(number: int) -> UUID:
    """Return the id of an instructor's own user."""
    return UUID(_id(_USER, number))


def operator_id(number: int) -> UUID:
    """Return the id of an operator of the largest instructor."""
    return UUID(_id(_USER, INSTRUCTORS + number))


def reader_email(number: int) -> str:
    """Return the address of an instructor's own user."""
    return f"reader-{number}@example.org"


def operator_email(number: int) -> str:
    """Return the address of an operator of the largest instructor."""
    return f"operator-{number}@example.org"


def phone_number_id(number: int) -> str:
    """Return an instructor's account."""
    return f"1{number:014}"


def of_largest(conversations: int) -> Iterator[int]:
    """Give the numbers of the largest instructor's conversations, newest first.

    The conversations of numbers 0, 3, 6 … are linked; the identifiers of 1, 4, 7 … have a customer.
    """
    return (number for number in reversed(range(conversations)) if _owner(number) == 0)


def matching(conversations: int, nth: int, of: int) -> Iterator[int]:
    """Give every so-manieth of those that have a customer and aren't linked: `nth` from 0 to `of` - 1."""
    numbers = (number for number in of_largest(conversations) if number % 3 == 1)
    return islice(numbers, nth, None, of)


def tables(conversations: int, password_hash: str) -> list[Table]:
    """Return all tables of a data set, in an order in which references hold."""
    people = INSTRUCTORS + OPERATORS
    numbers = range(conversations)
    with_customer = [range(third, conversations, 3) for third in (0, 1)]
    return [
        Table("instructors", ("id", "name", "created_at"), map(_instructor, range(INSTRUCTORS)), INSTRUCTORS),
        Table(
            "users",
            ("id", "email", "name", "password_hash", "active", "created_at"),
            (_user(number, password_hash) for number in range(people)),
            people,
        ),
        Table("memberships", ("user_id", "instructor_id", "role"), map(_membership, range(people)), people),
        Table(
            "channel_accounts",
            ("channel", "account_id", "instructor_id"),
            map(_account, range(INSTRUCTORS)),
            INSTRUCTORS,
        ),
        Table(
            "customers",
            ("id", "instructor_id", "channel", "normalized_identifier", "created_at"),
            (_customer(number, conversations) for number in numbers if number % 3 != 2),
            sum(map(len, with_customer)),
        ),
        Table(
            "conversations",
            (
                *("id", "instructor_id", "channel", "customer_identifier", "status"),
                *("created_at", "updated_at", "last_message_at", "customer_id", "link_version"),
            ),
            (_conversation(number, conversations) for number in numbers),
            conversations,
        ),
        Table(
            "messages",
            (
                *("id", "conversation_id", "instructor_id", "channel", "direction"),
                *("external_id", "kind", "body", "sent_at"),
            ),
            (_message(number, conversations) for number in numbers),
            conversations,
        ),
    ]


def _owner(number: int) -> int:
    return bisect(_SHARES, number * _GOLDEN % 1 * _SHARES[-1])


def _id(kind: int, number: int) -> str:
    """Return a UUID in the form of version 7: ids of one kind sort by their number."""
    return f"{number:08x}-{kind:04x}-7000-8000-000000000000"


def moment(number: int, conversations: int) -> datetime:
    """Return when the last message of a conversation came."""
    return _NEWEST - timedelta(seconds=conversations - number)


def identifier(number: int) -> str:
    """Return the identifier that a conversation has."""
    return f"39{3_000_000_000 + number}"


def _instructor(number: int) -> Row:
    return _id(_INSTRUCTOR, number), f"Instructor {number + 1}", _NEWEST


def _user(number: int, password_hash: str) -> Row:
    is_reader = number < INSTRUCTORS
    email = reader_email(number) if is_reader else operator_email(number - INSTRUCTORS)
    return _id(_USER, number), email, f"User {number + 1}", password_hash, True, _NEWEST


def _membership(number: int) -> Row:
    if number < INSTRUCTORS:
        return _id(_USER, number), _id(_INSTRUCTOR, number), "instructor"
    return _id(_USER, number), _id(_INSTRUCTOR, 0), "operator"


def _account(number: int) -> Row:
    return "whatsapp", phone_number_id(number), _id(_INSTRUCTOR, number)


def _customer(number: int, conversations: int) -> Row:
    return (
        _id(_CUSTOMER, number),
        _id(_INSTRUCTOR, _owner(number)),
        "whatsapp",
        identifier(number),
        moment(number, conversations),
    )


def _conversation(number: int, conversations: int) -> Row:
    when = moment(number, conversations)
    linked = number % 3 == 0
    return (
        _id(_CONVERSATION, number),
        _id(_INSTRUCTOR, _owner(number)),
        "whatsapp",
        identifier(number),
        "open",
        *(when, when, when),
        _id(_CUSTOMER, number) if linked else None,
        int(linked),
    )


def _message(number: int, conversations: int) -> Row:
    return (
        _id(_MESSAGE, number),
        _id(_CONVERSATION, number),
        _id(_INSTRUCTOR, _owner(number)),
        "whatsapp",
        "inbound",
        f"wamid.{number:012}",
        "text",
        f"Hello, is the lesson on Saturday at {number % 12 + 8} still free? We would be {number % 4 + 1}.",
        moment(number, conversations),
    )
