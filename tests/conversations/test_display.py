"""How moments, identifiers and kinds of message read to a person."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.conversations import display
from console.conversations.queries import MessageRow
from console.identifiers import normalize_identifier

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=59), "now"),
        (timedelta(minutes=1), "1 min"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=12), "12 h"),
        (timedelta(hours=12, seconds=1), "yesterday"),
        (timedelta(days=1, hours=12, seconds=1), "Sun"),
        (timedelta(days=6), "Wed"),
        (timedelta(days=7), "17 Nov"),
        (timedelta(days=400), "20 Oct 2025"),
        (timedelta(minutes=-5), "24 Nov"),
        (timedelta(days=-400), "29 Dec 2027"),
    ],
)
def test_ago_is_as_short_as_a_list_allows(passed: timedelta, said: str):
    assert display.ago(NOON - passed, NOON) == said


def test_a_moment_a_date_and_a_day_are_exact():
    then = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert display.moment(then) == "4 Mar 2025, 05:06 UTC"
    assert display.date(then) == "4 Mar 2025"
    assert display.day(then, NOON) == "Tuesday 4 March 2025"
    assert display.day(NOON, NOON) == "Tuesday 24 November"
    assert display.isoformat(then) == "2025-03-04T05:06:07Z"


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("+39 333 123 4567", "+39 333 123 4567"),
        ("0039 (333) 123 - 4567 ", "+39 333 123 4567"),
        ("390612345678", "+39 06 1234 5678"),
        ("447700900123", "+44 7700 900123"),
        ("5511987654321", "+55 11 98765 4321"),
        ("33612345678", "+33 6 12 34 56 78"),
        ("12025550123", "+1 202 555 0123"),
        ("99912345678", "+999 1234 5678"),
        ("40404", "40404"),
        ("WhatsApp Support", "WhatsApp Support"),
        ("US.13491208655302741918", "US.13491208655302741918"),
    ],
)
def test_a_number_is_grouped_as_its_country_writes_it(identifier: str, shown: str):
    assert " ".join(display.identifier_groups(identifier)) == shown


@given(st.from_regex(r"\+?[1-9][0-9]{7,14}", fullmatch=True))
def test_the_groups_of_a_number_are_the_whole_number(identifier: str):
    normalized = normalize_identifier(identifier)
    joined = "".join(display.identifier_groups(identifier))
    assert joined in (identifier, f"+{normalized}")


@pytest.mark.parametrize(
    ("identifier", "parts"),
    [
        ("US.13491208655302741918", ("US.13491208655302", "741918")),
        ("WhatsApp Support", None),
        ("+39 333 123 4567", None),
    ],
)
def test_the_tail_of_a_long_identifier_is_never_hidden(identifier: str, parts: tuple[str, str] | None):
    assert display.identifier_parts(identifier) == parts


def test_a_title_shows_both_ends_of_a_long_identifier():
    assert display.short_identifier("x" * 249 + "abcdef") == "xxxxxxxxxxxx…abcdef"
    assert display.short_identifier("US.1349120865530274") == "US.1349120865530274"


def test_kinds_and_channels_are_named_and_unknown_ones_shown_as_they_are_called():
    assert display.kind_name("image") == "Photo"
    assert display.kind_name("hologram") == "Hologram"
    assert display.channel_name("whatsapp") == "WhatsApp"
    assert display.channel_name("pigeon") == "pigeon"


def test_messages_are_put_into_days_the_oldest_first():
    sent = [NOON, NOON - timedelta(hours=12), NOON - timedelta(hours=12, seconds=1)]
    messages = [MessageRow(uuid4(), "inbound", "text", str(moment), moment) for moment in sent]
    (first, yesterday), (second, today) = display.by_day(messages)
    assert (first, second) == (sent[2], sent[1])
    assert yesterday == [messages[2]]
    assert today == [messages[1], messages[0]]
    assert display.by_day([]) == []
