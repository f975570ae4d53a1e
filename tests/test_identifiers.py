"""Customer identifiers (CM-1): a table of written forms, and properties that hold for every text."""

import json
import re
import unicodedata
from pathlib import Path
from string import ascii_letters, ascii_uppercase

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.identifiers import groups, normalize_identifier, search_term
from testkit.identifiers import ASCII_DIGITS, DIRECTION_MARKS, SEPARATORS, WHITE_SPACE, read_by_character

FORMS = [
    (json.loads(written), json.loads(identifier), why)
    for written, identifier, why in (
        line.split("\t")
        for line in (Path(__file__).parent / "identifier_forms.tsv").read_text("utf-8").splitlines()[1:]
    )
]

some = settings(max_examples=100)
many = settings(max_examples=700)

any_text = st.text(st.characters())  # lone surrogates and NUL among them
phone_numbers = st.integers(10**7, 10**15 - 1).map(str)
user_ids = st.builds(
    "{}.{}{}".format,
    st.text(ascii_uppercase, min_size=2, max_size=2),
    st.sampled_from(["", "ENT."]),
    st.text(ascii_letters + ASCII_DIGITS, min_size=1, max_size=128),
)
# Pieces that make near misses likely: characters that the rule names, some that it doesn't, and whole runs.
nasty_pieces = st.sampled_from(
    [
        *"+0123456789 ()-./\u00a0\u202f\u2011\u200e\u2068\u2069\u202c\t\n\x00AZazENT,x",
        *("\u2009", "\u200b", "\u0663", "\uff13", "\ud800", "00", "39", "333", "(333)", "(0)", "1234567"),
        *("US.", "ENT.", "13491208655302741918"),
    ]
)
nasty_text = st.lists(nasty_pieces, max_size=14).map("".join)


@st.composite
def written_numbers(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a phone number's digits, and one of the ways CM-1 allows to write them."""
    digits = draw(phone_numbers)
    places = st.integers(1, len(digits) - 1)  # a place is between two digits
    gap = st.text(SEPARATORS, min_size=1, max_size=3)
    gaps = draw(st.dictionaries(places, gap, max_size=5))
    opening, closing = sorted(draw(st.tuples(places, places)))
    if digits[opening:closing] and digits[opening] != "0":
        gaps[opening] = gaps.get(opening, "") + draw(st.sampled_from(["(", "( ", "(\u00a0"]))
        gaps[closing] = draw(st.sampled_from([")", " )", "-)"])) + gaps.get(closing, "")
    number = "".join(gaps.get(place, "") + digit for place, digit in enumerate(digits))
    around = st.text(WHITE_SPACE + DIRECTION_MARKS, max_size=3)
    prefix = draw(st.sampled_from(["", "+", "00", "00 ", "00-"]))
    return digits, draw(around) + prefix + number + draw(around)


@st.composite
def damaged_forms(draw: st.DrawFn) -> str:
    """Draw an allowed form or a user ID with up to three pieces put in or characters taken out."""
    text = draw(st.one_of(written_numbers().map(lambda drawn: drawn[1]), user_ids))
    likely_damage = st.sampled_from(["", " ", "+", "(0)", "(1)", "ENT."])
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, min(len(text), 20)))
        piece = draw(st.one_of(likely_damage, nasty_pieces))
        text = text[:place] + piece + text[place + draw(st.booleans()) :]
    return text


# The written forms


@pytest.mark.shows("CM-1.7", "CM-1.8", "CM-1.9", "T2.1", "Review.T2.2")
@pytest.mark.parametrize(
    ("written", "identifier"), [pytest.param(written, answer, id=why) for written, answer, why in FORMS]
)
def test_a_written_form_has_its_answer(written: str, identifier: str | None) -> None:
    assert normalize_identifier(written) == identifier


# Every text


@pytest.mark.shows("CM-1.6", "CM-1.9", "Review.T2.2")
@many
@given(st.one_of(any_text, nasty_text, damaged_forms()))
def test_every_text_gives_a_phone_number_a_user_id_or_nothing(raw: str) -> None:
    identifier = normalize_identifier(raw)
    assert identifier is None or re.fullmatch(
        r"[1-9][0-9]{7,14}|[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}", identifier
    )


@pytest.mark.shows("CM-1.10", "T2.3")
@many
@given(st.one_of(any_text, nasty_text, damaged_forms()))
def test_an_identifier_normalises_to_itself(raw: str) -> None:
    identifier = normalize_identifier(raw)
    assert identifier is None or normalize_identifier(identifier) == identifier


@pytest.mark.shows("CM-1.6", "CM-1.7", "CM-1.8", "T2.2", "Review.T2.1")
@settings(max_examples=4000)
@given(st.one_of(nasty_text, damaged_forms()))
@example("+1 (0(0)) 23456789")
@example("00 (39) 333 1234567")
def test_the_answer_is_that_of_a_reading_by_character(raw: str) -> None:
    assert normalize_identifier(raw) == read_by_character(raw)


@many
@given(written_numbers())
def test_formatting_never_changes_the_identifier(drawn: tuple[str, str]) -> None:
    digits, written = drawn
    assert normalize_identifier(written) == digits


@pytest.mark.shows("CM-1.8", "CM-2.2.4")
@many
@given(user_ids, st.text(WHITE_SPACE), st.text(WHITE_SPACE))
def test_a_user_id_is_kept_to_the_letter(user_id: str, before: str, behind: str) -> None:
    assert normalize_identifier(before + user_id + behind) == user_id


@pytest.mark.shows("CM-1.7")
@some
@given(phone_numbers, st.data())
def test_a_digit_of_another_script_is_no_digit(digits: str, data: st.DataObject) -> None:
    others = st.characters(categories=["Nd", "No", "Nl"], exclude_characters=ASCII_DIGITS)
    place = data.draw(st.integers(0, len(digits) - 1))
    foreign = data.draw(others)
    assert unicodedata.numeric(foreign, None) is not None
    assert normalize_identifier(digits[:place] + foreign + digits[place + 1 :]) is None


@pytest.mark.shows("CM-1.6", "T2.4")
@pytest.mark.parametrize("raw", [None, 393331234567, 3.9, b"393331234567", True, [], {}], ids=repr)
def test_a_value_that_is_not_text_is_not_valid(raw: object) -> None:
    assert normalize_identifier(raw) is None


# Every character there is


def characters_allowed_in(form: str, identifier: str) -> set[str]:
    """Return the characters that can stand for `?` in a form and leave its identifier as it is."""
    before, _, behind = form.partition("?")
    return {
        character
        for character in map(chr, range(0x110000))
        if normalize_identifier(before + character + behind) == identifier
    }


@pytest.mark.parametrize(
    ("form", "identifier", "allowed"),
    [
        pytest.param("39333?1234567", "393331234567", SEPARATORS, id="between digits"),
        pytest.param(
            "?393331234567", "393331234567", WHITE_SPACE + DIRECTION_MARKS + "+", id="before a number"
        ),
        pytest.param("US.134912?", "US.134912", WHITE_SPACE, id="behind a user ID"),
    ],
)
def test_only_the_characters_listed_are_allowed(form: str, identifier: str, allowed: str) -> None:
    assert characters_allowed_in(form, identifier) == set(allowed)


def test_a_phone_number_has_digits_alone_whatever_stands_between_them() -> None:
    results = {normalize_identifier(f"39333{character}1234567") for character in map(chr, range(0x110000))}
    assert all(re.fullmatch("[0-9]+", result) for result in results if result is not None)


# Long texts


@pytest.mark.parametrize(
    "unit",
    [
        *("1", " ", "(", "1 ", "1(", "(1)", "1(1)", " (1) ", "1 (1 ", "(0)", "00 ", "+", "A", "US.1"),
        *("\u200e", "\u00a0", "\u2011", "\ud800", "\x00"),
    ],
)
@pytest.mark.parametrize("behind", ["", "x", "1"])
def test_a_text_of_a_megabyte_is_answered(unit: str, behind: str) -> None:
    text = "1" + unit * (1_000_000 // len(unit)) + behind
    assert normalize_identifier(text) is None
    assert groups(text) == (text,)
    assert isinstance(search_term(text), str)


def test_a_number_in_a_megabyte_of_white_space_is_found() -> None:
    assert normalize_identifier(" \u200e" * 500_000 + "+393331234567" + "\n" * 1_000_000) == "393331234567"


def test_a_number_with_a_megabyte_of_separators_is_found() -> None:
    gap = SEPARATORS * 100_000
    assert normalize_identifier(f"00{gap}39{gap}({gap}333{gap}){gap}1234567") == "393331234567"


# Search terms


@pytest.mark.parametrize(
    ("typed", "term"),
    [
        ("333 123", "333123"),
        ("+39 333", "39333"),
        ("0039", "39"),
        ("00 39 333", "39333"),
        ("++39", "+39"),
        ("(333) 123-4567", "3331234567"),
        ("-333/12.", "33312"),
        ("\u202a+39\u00a0333\u202c", "39333"),
        (" 12\t34\x00 ", "1234"),
        ("12\ud80034", "1234"),
        ("\x00\u200e333\u200e\x1f", "333"),
        ("US.1349", "US.1349"),
        (" us.ent.1 \u200e", "us.ent.1"),
        ("+39 Anna", "+39 Anna"),
        ("\u0663\u0669", "\u0663\u0669"),
        ("%_", "%_"),
        ("+", ""),
        ("00", ""),
        ("   ", ""),
        ("", ""),
        ("A" * 257, "A" * 256),
        ("3" * 257, "3" * 256),
    ],
)
def test_a_typed_search_is_reduced_to_its_term(typed: str, term: str) -> None:
    assert search_term(typed) == term


@some
@given(written_numbers())
def test_a_search_for_a_whole_number_however_written_is_for_its_identifier(drawn: tuple[str, str]) -> None:
    digits, written = drawn
    assert search_term(written) == digits


@some
@given(user_ids)
def test_a_search_for_a_user_id_is_for_its_letters(user_id: str) -> None:
    assert search_term(f" {user_id}\n") == user_id


@many
@given(st.one_of(any_text, nasty_text))
def test_a_database_can_take_every_search_term(q: str) -> None:
    term = search_term(q)
    assert term.encode("utf-8").decode("utf-8") == term
    assert min(term, default=" ") >= " "


# Groups


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("393331234567", "+39 333 123 4567"),
        ("+39 (333) 1234567", "+39 333 123 4567"),
        ("15551234567", "+1 555 123 4567"),
        ("79161234567", "+7 916 123 4567"),
        ("34612345678", "+34 612 345 678"),
        ("4917112345678", "+49 171 1234 5678"),
        ("6591234567", "+65 9123 4567"),
        ("420601123456", "+420 601 123 456"),
        ("971501234567", "+971 501 234 567"),
        ("29012345", "+290 12 345"),
        ("35312345", "+353 12 345"),
        ("391234567", "+39 123 4567"),
        ("393331234567890", "+39 333 123 456 7890"),
        ("123456789012345", "+1 234 567 8901 2345"),
    ],
)
def test_a_phone_number_is_shown_in_groups(identifier: str, shown: str) -> None:
    assert groups(identifier) == tuple(shown.split(" "))


@some
@given(phone_numbers)
def test_the_groups_of_a_phone_number_are_its_digits_and_end_in_three_or_four(digits: str) -> None:
    country_code, *rest = groups(digits)
    assert country_code + "".join(rest) == f"+{digits}"
    assert 2 <= len(country_code) <= 4
    assert [size for size in map(len, rest) if size not in (3, 4)] == ([2] if len("".join(rest)) == 5 else [])
    assert len(rest[-1]) in (3, 4)


@many
@given(st.one_of(any_text, nasty_text, user_ids))
def test_an_identifier_that_is_not_a_phone_number_is_shown_unchanged(raw: str) -> None:
    identifier = normalize_identifier(raw)
    if identifier is None or identifier[0] not in ASCII_DIGITS:
        assert groups(raw) == (raw,)
    else:
        assert "".join(groups(raw)) == f"+{identifier}"
