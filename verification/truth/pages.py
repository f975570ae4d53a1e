"""What the console's pages say, read from their HTML. The one place that knows how the pages are built."""

import re
from collections.abc import Iterator
from datetime import datetime

from verification.truth.markup import Element, read
from verification.truth.said import (
    BadgeSaid,
    ChoiceSaid,
    DeskSaid,
    DialogSaid,
    EventSaid,
    FormSaid,
    ListSaid,
    MessageSaid,
    Moment,
    RowSaid,
    StaleSaid,
    ThreadSaid,
)

_SPACES = re.compile(r"\s+")


def identifier(element: Element | None) -> str:
    """Return an identifier as it was shown, without the spaces between its groups."""
    return _SPACES.sub("", element.raw) if element else ""


def _identifiers(element: Element) -> tuple[str, ...]:
    return tuple(identifier(item) for item in element.all(".identifier"))


def _moment(element: Element) -> Moment:
    at = datetime.fromisoformat(element["datetime"].replace("Z", "+00:00"))
    return Moment(at, element.get("title"), element.text)


def _first_moment(element: Element | None) -> Moment | None:
    found = element.first("time") if element else None
    return _moment(found) if found else None


def badges(html: str) -> dict[str, BadgeSaid]:
    """Read every badge that has arrived, by conversation."""
    return {
        badge["id"].removeprefix("badge-"): _badge(badge)
        for badge in read(html).all(".badge")
        if _is_there(badge)
    }


def _is_there(badge: Element) -> bool:
    return "data-state" in badge.attributes


def _badge(element: Element) -> BadgeSaid:
    label, copy = element.first("b"), element.first("span.copy")
    spans = [child for child in element.children if isinstance(child, Element) and child.tag == "span"]
    copy = copy or (spans[-1] if spans else None)
    return BadgeSaid(element["data-state"], label.text if label else "", copy.text if copy else "")


def _badge_in(element: Element | None) -> BadgeSaid | None:
    found = element.first(".badge") if element else None
    return _badge(found) if found and _is_there(found) else None


def main(html: str) -> Element:
    """Return a page's main part, or the whole of a fragment."""
    page = read(html)
    return page.first("main") or page


# What the other functions here read.
_READ = (
    "#choices",
    "#customers-found",
    "#found",
    ".change",
    ".day",
    ".done",
    ".history",
    ".identifier",
    ".last",
    ".messages",
    ".skipped",
    ".statement",
    ".tabs",
    "#asking",
    "time",
)
# What only leads somewhere, or asks for something.
_CONTROLS = ("a", "button", "label", "legend", "link", "noscript", "option", "script", "summary")
_CONTROL_CLASSES = (".keys", ".brand")
_INLINE = ("b", "bdi", "kbd", "q", "span", "time")


def others(html: str) -> list[str]:
    """Return everything else that a page states: all of its text but commands and hidden parts."""
    page = read(html)
    skipped = {id(part) for selector in _READ for element in page.all(selector) for part in element.walk()}
    for element in page.walk():
        if (
            "hidden" in element.attributes
            or element.tag in _CONTROLS
            or element.get("id") == "keys-help"
            or any(name[1:] in element.classes for name in _CONTROL_CLASSES)
            or _is_there(element)
        ):
            skipped |= {id(part) for part in element.walk()}
    blocks = [element for element in page.walk() if element.tag not in _INLINE and id(element) not in skipped]
    return [said for block in blocks if (said := " ".join("".join(_own_texts(block, skipped)).split()))]


def _own_texts(element: Element, skipped: set[int]) -> Iterator[str]:
    for child in element.children:
        if isinstance(child, str):
            yield child
        elif child.tag in _INLINE and id(child) not in skipped:
            yield from _own_texts(child, skipped)


def inbox(html: str) -> ListSaid:
    """Read a list of conversations."""
    page = main(html)
    rows = [
        _row(row, row["id"].removeprefix("row-"))
        for row in page.all("li")
        if row.get("id").startswith("row-")
    ]
    found = page.first("#found")
    return ListSaid(rows, found.text if found else "", _link(page, "Older"))


def _row(row: Element, conversation_id: str) -> RowSaid:
    who, last, when = row.first(".identifier"), row.first(".last"), row.first("time")
    assert when
    return RowSaid(
        conversation_id,
        identifier(who),
        last.text if last else "",
        _moment(when),
        _badge_in(row),
        row.first(".skipped") is not None,
    )


def _link(page: Element, text: str) -> str | None:
    return next((link["href"] for link in page.all("a") if link.text.startswith(text)), None)


def thread(html: str) -> ThreadSaid:
    """Read a conversation, or a page of older messages of one."""
    page = main(html)
    heading, older = page.first("h1"), page.first("#older-messages")
    return ThreadSaid(
        identifier=identifier(heading.first(".identifier") if heading else None),
        badge=_badge_in(page.first(".stands") or page),
        messages=list(_messages(page)),
        older=older.get("href") or None if older else None,
        says_first=bool(older and "first messages" in older.text),
    )


def _messages(page: Element) -> Iterator[MessageSaid]:
    day = ""
    for element in page.walk():
        if element.tag == "h2" and "day" in element.classes:
            day = element.text
        elif element.tag == "ol" and "messages" in element.classes:
            for item in element.children:
                if isinstance(item, Element) and item.tag == "li":
                    yield _message(item, day)


def _message(item: Element, day: str) -> MessageSaid:
    label, kind, body, when = (
        item.first(".hidden"),
        item.first(".kind"),
        item.first(".body"),
        item.first("time"),
    )
    author = (label or kind or item).text.rstrip(":")
    side = next((class_ for class_ in item.classes if class_ in ("inbound", "outbound", "system")), "")
    assert when
    return MessageSaid(author, side, kind.text if kind else "", body.text if body else "", _moment(when), day)


def form(html: str) -> FormSaid:
    """Read the link form's page."""
    page = main(html)
    work = page.first(".work") or page
    about = page.first(".talk") or work
    heading, head = about.first("h2"), about.first("span.soft")
    notice = next((element for element in work.all(".problem") if "hidden" not in element.attributes), None)
    current = work.first(".current")
    found, choices = page.first("#customers-found"), page.first("#choices")
    no_customer = choices.first(".empty") if choices else None
    history = page.first(".history")
    has_list = history is not None and history.first("ol") is not None
    never = history.first(".empty") if history else None
    statement = work.first(".statement")
    older = next((element.text for element in history.all("p.soft")), "") if history else ""
    return FormSaid(
        identifier=identifier(heading.first(".identifier") if heading else None),
        first_wrote=_first_moment(head),
        flashes=[done.text.removesuffix(" Change") for done in page.all(".done")],
        notice=notice.text if notice else "",
        linked_to=identifier(current.first(".identifier")) if current else None,
        choices=[_choice(element) for element in choices.all("label.choice")] if choices else [],
        found=found.text if found else "",
        no_customer=no_customer.text if no_customer else "",
        creatable=_creatable(page),
        events=[_event(line) for line in history.all("li")] if history and (has_list or never) else None,
        older_events=int((re.findall(r"^\d+", older) or ["0"])[0]),
        says_never_linked=never is not None,
        dialog=_dialog(page),
        stale=_stale(work),
        desk=_desk(page),
        talk=list(_messages(about)),
        linked_since=_first_moment(current),
        statement=statement.text if statement else "",
        recent=tuple(element["data-reason"] for element in work.all("button") if element.get("data-reason")),
        forms=_forms(page),
    )


def customers(html: str) -> tuple[list[ChoiceSaid], str, str]:
    """Read the customers that a search offers: them, how many were found, and what is said if none was."""
    page = read(html)
    found, choices = page.first("#customers-found"), page.first("#choices") or page
    empty = choices.first(".empty")
    return (
        [_choice(element) for element in choices.all("label.choice")],
        found.text if found else "",
        empty.text if empty else "",
    )


def _choice(label: Element) -> ChoiceSaid:
    field, note = label.first("input"), label.first(".soft")
    return ChoiceSaid(
        field.get("value") if field else "",
        identifier(label.first(".identifier")),
        note.text if note else "",
        _first_moment(label),
    )


def _creatable(page: Element) -> str | None:
    for label in page.all("label.choice"):
        field = label.first("input")
        if field and field.get("name") == "create":
            return identifier(label.first(".identifier"))
    return None


def _event(line: Element) -> EventSaid:
    actor, when, reason = line.first("b"), line.first("time"), line.first("q")
    assert when
    return EventSaid(
        actor.text if actor else "",
        line.text,
        _identifiers(line),
        _moment(when),
        reason.text if reason else "",
    )


def _dialog(page: Element) -> DialogSaid | None:
    dialog = next((element for element in page.all("dialog") if element.first("#consequence")), None)
    if dialog is None:
        return None
    title, consequence = dialog.first("h2"), dialog.first("#consequence")
    sides = _sides(dialog)
    return DialogSaid(
        title=title.text if title else "",
        before=sides.get("Linked now", ""),
        after=sides.get("Will be", ""),
        consequence=consequence.text if consequence else "",
        identifiers=_identifiers(consequence) if consequence else (),
        when=_first_moment(consequence),
        reasons=tuple(element.text for element in dialog.all("q")),
    )


def _sides(element: Element) -> dict[str, str]:
    """Return what stands under each heading: an identifier where there is one, else the text."""
    names, values = element.all("dt"), element.all("dd")
    return {
        name.text: identifier(value.first(".identifier")) or value.text
        for name, value in zip(names, values, strict=False)
    }


def _stale(work: Element) -> StaleSaid | None:
    change = next((element for element in work.all("dl.change")), None)
    if change is None or "Now" not in (sides := _sides(change)):
        return None
    changed = next((element for element in work.all("p.soft") if element.text.startswith("Changed by")), None)
    return StaleSaid(sides, changed.text if changed else "", _first_moment(changed))


def _queue(page: Element) -> list[RowSaid]:
    queue = page.first(".queue")
    rows = queue.all("li") if queue else []
    return [_row(row, _row_id(row)) for row in rows]


def _row_id(row: Element) -> str:
    link = row.first("a")
    assert link
    return link["href"].split("?")[0].rpartition("/")[2]


def desk(html: str) -> DeskSaid:
    """Read the linking desk."""
    return _desk(main(html))


def _desk(page: Element) -> DeskSaid:
    tabs = page.first("p.tabs")
    return DeskSaid(_queue(page), tabs.all("a")[0].text.removeprefix("Not linked ") if tabs else "")


def _forms(page: Element) -> dict[str, dict[str, str]]:
    """Return what each form that posts would send untouched, by its id or address."""
    found = {}
    for form in page.all("form"):
        if form.get("method") == "post":
            fields = {
                element["name"]: element.get("value")
                for element in form.all("input")
                if "name" in element.attributes
                and (element.get("type") not in ("radio", "checkbox") or "checked" in element.attributes)
            }
            found[form.get("id") or form.get("action")] = {"action": form.get("action"), **fields}
    return found


def failure(html: str) -> tuple[str, str, dict[str, dict[str, str]]]:
    """Read an error page: its heading, everything it says, and the forms with which to try again."""
    page = main(html)
    heading = page.first("h1")
    return heading.text if heading else "", page.text, _forms(page)


def readiness(html: str) -> dict[str, str]:
    """Read what /readyz says, by name."""
    page = main(html)
    return _sides(page)
