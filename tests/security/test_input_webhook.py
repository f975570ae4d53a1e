"""Naughty texts and wrong types in every field of a payload: stored or kept, and only text on every page."""

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html import unescape
from typing import Any

import html5lib
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from console.config import Settings
from console.conversations.display import seen
from console.identifiers import normalize_identifier
from console.ingestion.whatsapp import IncomingMessage, Rejection, parse
from testkit.databases import on_sqlite
from testkit.pages import Client
from tests.ingestion.payloads import message, messages, payload, rejected
from tests.ingestion.test_webhook import SECRET, URL, sign
from tests.security.naughty import MARKUP, NAUGHTY, any_text, shape, shown
from tests.security.visitors import Visitor, World

# Where a kind of message says something.
SAYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "text": lambda text: {"text": {"body": text}},
    "image": lambda text: {"image": {"caption": text}},
    "button": lambda text: {"button": {"text": text}},
    "interactive": lambda text: {"interactive": {"list_reply": {"title": text}}},
    "edit": lambda text: {"edit": {"message": {"type": "text", "text": {"body": text}}}},
}
# Whom a message may come from, and whom else a payload may name.
NAMED: dict[str, Callable[[str], dict[str, Any]]] = {
    "sender": lambda text: {"sender": text},
    "user id": lambda text: {"sender": None, "from_user_id": text},
    "other user id": lambda text: {"sender": None, "user_id": text},
    "id": lambda text: {"external_id": text},
    "type": lambda text: {"type": text},
    "timestamp": lambda text: {"timestamp": text},
    "group": lambda text: {"group_id": text},
}
SHOWN = ("text", "image")
OLDER_CONVERSATIONS = r'href="([^"]+)">Older conversations'
OLDER_MESSAGES = r'id="older-messages"\s+href="([^"]+)"'
# What no database keeps.
UNKEPT = dict.fromkeys([0, *range(0xD800, 0xE000)], "\ufffd")
WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**300,
    "",
    "x",
    [],
    {},
    [[]],
    [None],
    {"x": []},
    {"id": {}},
    "\ud800\x00",
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Configure the webhook."""
    return replace(settings, whatsapp_app_secret=SECRET)


@pytest.fixture
def receive(app: Flask) -> Callable[[bytes], None]:
    """Return what sends a payload, signed."""
    http = Client(app, app.response_class)

    def receive(raw: bytes) -> None:
        assert http.post(URL, data=raw, headers=sign(raw)).status_code == 200, raw[:300]

    return receive


def saying(account: str, texts: Sequence[str], kinds: Sequence[str] = tuple(SAYS)) -> bytes:
    """Return a payload in which one person says each text in every way."""
    said = [(kind, SAYS[kind](text)) for text in texts for kind in kinds]
    return payload(
        *(
            message(f"{account}.{number}", type=kind, timestamp=str(1_790_000_000 + number), **fields)
            for number, (kind, fields) in enumerate(said)
        ),
        account=account,
    )


def naming(account: str, texts: Sequence[str]) -> bytes:
    """Return a payload with each text as every kind of name."""
    named = [
        {"external_id": f"{account}.{kind}.{number}", **names(text)}
        for kind, names in NAMED.items()
        for number, text in enumerate(texts)
    ]
    return payload(*(message(**fields) for fields in named), account=account)


def expected(*raws: bytes) -> set[tuple[str, str, str | None]]:
    """Return what of payloads has to be stored, by identifier, kind and body."""
    items = [item for raw in raws for item in parse(raw) if isinstance(item, IncomingMessage)]
    first = {item.external_id: item for item in reversed(items)}
    return {(item.identifier, item.kind, item.body) for item in first.values()}


def test_naughty_texts_in_every_field_are_stored_or_kept(people: World, receive: Callable[[bytes], None]):
    account, texts = people.anna.phone_number_id, list(NAUGHTY)
    contacts = [
        payload(
            message(f"wa-{number}", None),
            account=account,
            contacts=[{"wa_id": text, "profile": {"name": text}}],
        )
        for number, text in enumerate(texts)
    ]
    others = [payload(message(), account=text, messaging_product=text) for text in texts]
    fields = [
        json.dumps(
            {"object": text, "entry": [{"id": text, "changes": [{"field": text, "value": {}}]}]}
        ).encode()
        for text in texts
    ]
    whole = [saying(account, texts), naming(account, texts), *contacts]
    for raw in (*whole, *others, *fields, *whole):
        receive(raw)
    stored = {(identifier, kind, body) for _, identifier, _, _, kind, body, _, _ in messages()}
    assert expected(*whole) <= stored
    assert len(stored) - len(expected(*whole)) <= 8  # what there was before
    kept = {raw.encode() for _, raw in rejected()}
    assert kept == {*others, *(raw for raw in (*whole, *fields) if not is_storable(raw))}


def is_storable(raw: bytes) -> bool:
    """Say whether nothing of a payload has to be kept for another try."""
    return not any(isinstance(item, Rejection) for item in parse(raw))


def test_wrong_types_anywhere_are_stored_or_kept(people: World, receive: Callable[[bytes], None]):
    whole = json.loads(saying(people.anna.phone_number_id, ["x"]))
    more = {"contacts": [{"wa_id": "1", "user_id": "IT.1"}], "statuses": [{}]}
    whole["entry"][0]["changes"][0]["value"] |= more
    sent = []
    for number, (wrong, path) in enumerate((wrong, path) for path in paths(whole) for wrong in WRONG):
        changed = copy.deepcopy(whole)
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = wrong
        sent.append(json.dumps({**changed, "number": number}).encode())
        receive(sent[-1])
    kept = {raw.encode() for _, raw in rejected()}
    assert {raw for raw in sent if not is_storable(raw)} <= kept


def paths(holder: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """Yield where in a payload something stands."""
    steps = (
        holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
    )
    for step, held in steps:
        yield (*above, step)
        yield from paths(held, *above, step)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


@effort(max_examples=60)
@given(
    fields=st.dictionaries(
        st.sampled_from(["from", "id", "timestamp", "type", "text", "image", "group_id", "x"]), json_values
    ),
    text=any_text,
    raw=st.binary(max_size=40),
)
def test_any_message_at_all_is_stored_or_kept(
    people: World, receive: Callable[[bytes], None], fields: dict[str, Any], text: str, raw: bytes
):
    account = people.anna.phone_number_id
    for item in (payload(message(text, text, **{"text": {"body": text}, **fields}), account=account), raw):
        receive(item)


def is_name(text: str) -> bool:
    """Say whether a person may be known by a text, and is no phone number, which is shown in groups."""
    (item,) = parse(payload(message(sender=text)))
    return isinstance(item, IncomingMessage) and bool(text.strip()) and normalize_identifier(text) is None


def fill(receive: Callable[[bytes], None], account: str, texts: Sequence[str], names: Sequence[str]) -> None:
    """Let one person say every text in two ways, and then let each person write once under their name."""
    receive(saying(account, texts, SHOWN))
    receive(
        payload(
            *(
                message(
                    f"{account}-{number}", name, timestamp=str(1_790_100_000 + number), text={"body": name}
                )
                for number, name in enumerate(names)
            ),
            account=account,
        )
    )


def pages(visitor: Visitor, path: str, link: str) -> Iterator[str]:
    """Yield a page and those that follow it by a link."""
    following: str | None = path
    while following:
        answer = visitor.ask("GET", following)
        assert answer.status_code == 200
        yield answer.text
        older = re.search(link, answer.text)
        following = unescape(older[1]) if older else None


def texts_of(page: str, name: str) -> list[str]:
    """Return the texts of all elements of a class."""
    found = html5lib.parse(page, namespaceHTMLElements=False).iterfind(f".//*[@class='{name}']")
    return ["".join(row.itertext()) for row in found]


@on_sqlite
def test_hostile_strings_are_only_text_on_every_page(
    app: Flask, people: World, receive: Callable[[bytes], None]
):
    texts, names = [text for text in NAUGHTY if text], [text for text in NAUGHTY if is_name(text)]
    # Cut alike, and as invisible: a text without a visible character is shown as "No visible text".
    plain = [f"z{number}".ljust(len(name), "z") if seen(name) else name for number, name in enumerate(names)]
    fill(receive, people.anna.phone_number_id, texts, names)
    fill(receive, people.bruno.phone_number_id, ["zzz" if seen(text) else text for text in texts], plain)
    visitors = people.enter(app, "links it"), people.enter(app, "links another")

    lists = [list(pages(visitor, "/conversations", OLDER_CONVERSATIONS)) for visitor in visitors]
    assert [shape(page) for page in lists[0]] == [shape(page) for page in lists[1]]
    ids = [[id_ for page in list_ for id_ in re.findall(r'id="row-([^"]+)"', page)] for list_ in lists]
    assert len(ids[0]) == len(ids[1]) == len(names) + 3

    for name, own, plains in zip(reversed(names), *ids, strict=False):
        if name in MARKUP:
            for part in ("conversations", "links"):
                naughty, usual = (
                    visitor.ask("GET", f"/{part}/{id_}").text
                    for visitor, id_ in zip(visitors, (own, plains), strict=True)
                )
                assert shape(naughty) == shape(usual), ascii(name)
                assert shown(name) in texts_of(naughty, "identifier"), ascii(name)

    says_all = [ids_[len(names)] for ids_ in ids]
    threads = [
        list(pages(visitor, f"/conversations/{id_}", OLDER_MESSAGES))
        for visitor, id_ in zip(visitors, says_all, strict=True)
    ]
    assert [shape(page) for page in threads[0]] == [shape(page) for page in threads[1]]
    bodies = [body for page in reversed(threads[0]) for body in texts_of(page, "body")]
    kept = [text.translate(UNKEPT) for text in texts]
    assert bodies == [shown(text) for text in kept if seen(text) for _ in SHOWN]
    unseen = sum(not seen(text) for text in kept)
    assert sum(page.count("No visible text") for page in threads[0]) == unseen
    assert unseen > 0
