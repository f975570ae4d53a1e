"""Everything that pages state outside of lists, threads, forms and histories: when each of it is true."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from verification.truth.sentences import Sentences
from verification.truth.truth import Instructor, Thread
from verification.truth.words import by_newest, sought


@dataclass(frozen=True)
class About:
    """What a page was asked for: a part of the console, and the person, term or tab that it is about."""

    part: str = ""
    status: int = 200
    instructor: Instructor | None = None
    thread: Thread | None = None
    term: str = ""
    linked: bool | None = None
    older: bool = False
    typed: str = ""

    @property
    def threads(self) -> list[Thread]:
        """Return the conversations that a list has to show on all of its pages together."""
        found = by_newest(self.instructor, self.term) if self.instructor else []
        return found if self.linked is None else [row for row in found if bool(row.link) == self.linked]


ELSEWHERE = About()

Check = Callable[[Sentences, re.Match[str], About], bool]


def _named(_judge: Sentences, found: re.Match[str], about: About) -> bool:
    return about.instructor is not None and found["name"] == about.instructor.name


def _titled(judge: Sentences, found: re.Match[str], about: About) -> bool:
    page, term = found["page"], found["term"]
    expected = {"inbox": "Older conversations" if about.older else "Conversations", "desk": "Linking desk"}
    return (
        page == expected.get(about.part)
        and (term or "") == (about.term if about.part == "inbox" and sought(about.term) else "")
        and _named(judge, found, about)
    )


def _entitled(_judge: Sentences, found: re.Match[str], about: About) -> bool:
    part = {"Conversation": "thread", "Linking desk": "form"}[found["page"]]
    head, _, tail = found["id"].partition("…")
    true = about.thread.identifier if about.thread else ""
    return about.part == part and (
        true.startswith(head) and true.endswith(tail) if tail else true == found["id"]
    )


def _zone(judge: Sentences, found: re.Match[str], about: About) -> bool:
    return found["zone"] == judge.zone.key and (not found["name"] or _named(judge, found, about))


def _left(_judge: Sentences, found: re.Match[str], about: About) -> bool:
    assert about.instructor
    left = sum(thread.link is None for thread in about.instructor.threads.values())
    return left > int(found["number"]) if found["more"] else left == int(found["number"])


def _failed(judge: Sentences, _found: re.Match[str], about: About) -> bool:
    return about.status == 503 and (judge.truth.lookups_fail or judge.truth.messages_fail)


def _nothing(_judge: Sentences, found: re.Match[str], about: About) -> bool:
    return not about.threads and found.groupdict().get("term", about.term) == about.term


STATEMENTS: tuple[tuple[str, str, Check], ...] = (
    ("heading", r"Conversations|Linking desk", lambda *_: True),
    ("title", r"(?:“(?P<term>.+)” in )?(?P<page>.+) · (?P<name>[^·]+ \d+) · Customer Memory", _titled),
    ("title", r"(?P<id>.+) · (?P<page>Conversation|Linking desk) · Customer Memory", _entitled),
    ("head", r"WhatsApp · open ·(?: first message ·)?", lambda _judge, _found, about: about.part == "form"),
    ("zone", r"(?:WhatsApp · open|(?P<name>.+)) · times in (?P<zone>\S+)", _zone),
    ("zone", r"times in (?P<zone>\S+)(?P<name>)", _zone),
    ("signed in as", r"(?P<email>\S+@\S+)", lambda judge, found, _: found[0] == judge.reader_email),
    ("loaded at", r"Loaded at (?P<time>.+)", lambda judge, found, _: found["time"] == judge.hour_now),
    ("left", r"· (?P<more>more than )?(?P<number>\d+) not linked", _left),
    ("linked", r"Linked to(?: since)?", lambda _j, _f, about: bool(about.thread and about.thread.link)),
    ("first messages", r"The first messages", lambda _j, _f, about: about.part == "thread"),
    ("not there", r"Not found(?: · Customer Memory)?", lambda _j, _f, about: about.status == 404),
    (
        "not there",
        r"There is nothing here, or it isn’t yours to see\.",
        lambda _j, _f, about: about.status == 404,
    ),
    (
        "failed",
        r"The database can’t be used right now(?: · Customer Memory)?",
        lambda _j, _f, about: about.status == 503,
    ),
    ("failed", r"Try again in a moment\.", _failed),
    (
        "unsure",
        r"We can’t tell whether this was saved\. Try again: it can’t be saved twice\.",
        lambda _j, _f, about: about.part == "failed",
    ),
    ("typed", r"Reason", lambda _j, _f, about: bool(about.typed)),
    (
        "conflict",
        r"Someone changed this link after you opened it\. Nothing was saved\. Compare .*",
        lambda _j, _f, about: about.status == 409,
    ),
    (
        "conflict",
        r"Changed by (?P<actor>.+) on : (?P<reason>.*)",
        lambda _j, found, about: (
            about.thread is not None and about.thread.changes[-1].actor == found["actor"]
        ),
    ),
    (
        "not a number",
        r"This is not a number that a customer can have\..*",
        lambda _j, _f, about: about.thread is not None and about.thread.normalized is None,
    ),
    (
        "choose",
        r"Choose a conversation Or begin at the top of the list\.",
        lambda _j, _f, about: bool(about.threads),
    ),
    (
        "on record",
        r"is on record now\. Choose it instead of creating it\.",
        lambda _j, _f, about: (
            about.instructor is not None
            and about.thread is not None
            and about.thread.normalized in about.instructor.customers
        ),
    ),
    ("nothing", r"Nothing to work on here\.", _nothing),
    ("nothing", r"Nothing to link Conversations without a customer show up here\.", _nothing),
    ("nothing", r"Nothing linked yet What is linked shows up here\.", _nothing),
    (
        "nothing",
        r"Nothing (?:under “(?:Not l|L)inked” )?found for “(?P<term>.+)” Type part of a number\.",
        _nothing,
    ),
    (
        "not filtered",
        r"Nothing to search for in “(?P<term>.+)”(?: Type part of a number\.)? This list is not filtered\.",
        lambda _j, found, about: found["term"] == about.term and not sought(about.term),
    ),
)
_COMPILED = [(kind, re.compile(pattern), check) for kind, pattern, check in STATEMENTS]


def judge_statements(judge: Sentences, said: Iterable[str], about: About) -> None:
    """Judge statements; what isn't known can't be judged, and is told in the end."""
    for text in said:
        if about.typed and text == " ".join(about.typed.split()):
            continue  # given back; whether it is whole is judged by the form
        for kind, pattern, check in _COMPILED:
            if found := pattern.fullmatch(text):
                judge.holds(kind, check(judge, found, about), text, about.part)
                break
        else:
            judge.unknown[text] += 1
