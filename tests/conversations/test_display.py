"""How moments, identifiers and kinds of message read to a person."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from urllib.parse import urlencode
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberFormat, format_number

from console.conversations import display
from console.conversations.queries import MessageRow
from console.identifiers import normalize_identifier, split_country_code

ROME = ZoneInfo("Europe/Rome")
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def ago(zone: tzinfo, then: datetime, at: datetime) -> str:
    """Return how long ago a list in this zone says that a moment was."""
    local = display.Clock(zone).local
    return display.ago((at - then).total_seconds(), local(then), local(at))


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
    assert ago(UTC, NOON - passed, NOON) == said


def test_a_moment_a_date_and_a_day_are_exact():
    clock, then = display.Clock(ROME), datetime(2025, 3, 4, 23, 6, 7, tzinfo=UTC)
    assert clock.moment(then) == "5 Mar 2025, 00:06"
    assert clock.dated(then)[2] == "5 Mar 2025"
    assert clock.time(then) == "00:06"
    assert clock.day(then, NOON) == "Wednesday 5 March 2025"
    assert clock.day(NOON, NOON) == "Tuesday 24 November"
    assert display.isoformat(then) == "2025-03-04T23:06:07Z"


def rome(
    month: int, day: int, hour: int = 0, minute: int = 0, *, year: int = 2026, fold: int = 0
) -> datetime:
    """Return the moment at which clocks in Rome show this."""
    return datetime(year, month, day, hour, minute, tzinfo=ROME, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        # A night: two minutes past midnight in Rome are still the day before in UTC.
        (rome(11, 23, 23, 59), rome(11, 24, 0, 1), "2 min"),
        (rome(11, 23, 22, 0), rome(11, 24, 0, 1), "yesterday"),
        (rome(11, 24, 0, 1), rome(11, 24, 8, 1), "8 h"),
        (rome(11, 22, 23, 59), rome(11, 24, 0, 1), "Sun"),
        # The day of 23 hours, from 2 to 3 at night, and the day after it.
        (rome(3, 29, 0, 0), rome(3, 29, 23, 59), "22 h"),
        (rome(3, 29, 0, 0), rome(3, 30, 0, 0), "yesterday"),
        # The day of 25 hours, from 3 back to 2, and the day after it.
        (rome(10, 25, 0, 0), rome(10, 25, 23, 59), "24 h"),
        (rome(10, 25, 0, 0), rome(10, 26, 0, 0), "yesterday"),
        # The turn of the year is the zone's as well.
        (rome(1, 1, 0, 30), rome(6, 1, 0, 0), "1 Jan"),
        (rome(12, 31, 23, 30, year=2025), rome(6, 1, 0, 0), "31 Dec 2025"),
    ],
)
def test_days_begin_at_the_zones_midnight(then: datetime, now: datetime, said: str):
    assert ago(ROME, then, now) == said


def test_an_hour_that_the_clocks_repeat_says_which_it_is():
    first, second = rome(10, 25, 2, 30), rome(10, 25, 2, 30, fold=1)
    assert second - first == timedelta(hours=1)
    clock = display.Clock(ROME)
    assert clock.time(first) == "02:30 (UTC+02:00)"
    assert clock.time(second) == "02:30 (UTC+01:00)"
    assert clock.moment(second) == "25 Oct 2026, 02:30 (UTC+01:00)"
    assert [clock.time(first - timedelta(hours=1)), clock.time(second + timedelta(hours=1))] == [
        "01:30",
        "03:30",
    ]
    before_gap = rome(3, 29, 1, 59)
    assert [clock.time(before_gap), clock.time(before_gap + timedelta(minutes=1))] == ["01:59", "03:00"]


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        # The hour before midnight comes twice: the second time is on the day before the one that had begun.
        ("America/Havana", datetime(2026, 11, 1, 4, 30, tzinfo=UTC)),
        ("Atlantic/Azores", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        # Half an hour comes twice.
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 14, 45, tzinfo=UTC)),
        ("America/Asuncion", datetime(2023, 3, 26, 2, 30, tzinfo=UTC)),
    ],
)
def test_repeated_hours_are_noticed_whatever_the_zone(zone: str, first: datetime):
    clock = display.Clock(ZoneInfo(zone))
    told = [clock.time(first + timedelta(minutes=30 * step)) for step in range(-4, 8)]
    repeated = [shown for shown in told if "UTC" in shown]
    assert len(repeated) >= 2
    assert len(set(told)) == len(told)


@given(st.dictionaries(st.sampled_from(["q", "find", "before"]), st.none() | st.text()))
def test_a_query_is_written_as_the_standard_library_writes_it(fields: dict[str, str | None]):
    said = urlencode({name: value for name, value in fields.items() if value is not None})
    assert display.query(fields) == (f"?{said}" if said else "")


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (10, 25, 25), (11, 24, 24)])
def test_a_days_messages_are_those_from_midnight_to_midnight(month: int, day: int, hours: int):
    midnight = rome(month, day)
    sent = [midnight + timedelta(hours=hour, minutes=30) for hour in range(-1, hours + 1)]
    messages = [MessageRow(uuid4(), "inbound", "text", None, moment) for moment in reversed(sent)]
    days = display.Clock(ROME).by_day(messages)
    assert [[message.sent_at for message in those] for _, those in days] == [sent[:1], sent[1:-1], sent[-1:]]


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


@given(st.from_regex(r"[1-9][0-9]{7,14}", fullmatch=True))
def test_numbers_are_grouped_as_the_library_formats_them(digits: str):
    country_code, national = split_country_code(digits) or ("", "")
    zeros = len(national) - len(national.lstrip("0"))
    number = PhoneNumber(
        country_code=int(country_code),
        national_number=int(national),
        italian_leading_zero=zeros > 0,
        number_of_leading_zeros=zeros or None,
    )
    groups = tuple(re.findall(r"\+?[0-9]+", format_number(number, PhoneNumberFormat.INTERNATIONAL)))
    if "".join(groups) == f"+{digits}" and len(groups) > 2:
        assert display.identifier_groups(digits) == groups


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
    assert display.listed_identifier(identifier) == (
        parts or display.identifier_groups(identifier),
        parts is not None,
    )


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
    (first, yesterday), (second, today) = display.Clock(UTC).by_day(messages)
    assert (first, second) == (sent[2], sent[1])
    assert yesterday == [messages[2]]
    assert today == [messages[1], messages[0]]
    assert display.Clock(UTC).by_day([]) == []
