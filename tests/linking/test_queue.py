"""What the linking desk shows of the queue, a conversation and its history, and where Next leads."""

from uuid import UUID

import pytest
from bs4 import BeautifulSoup

from console.linking import history
from console.linking.queries import QUEUE_SIZE
from testkit.databases import execute
from testkit.factories import Desk, link_state, payload, run
from testkit.pages import Browser, fields_of

TYPED = "said <so> & “so”"


def test_the_desk_lists_what_is_to_be_linked(marta: Browser, anna: Desk):
    linked, waiting = anna.conversation("393331234567"), anna.conversation("40404")
    anna.link(linked)

    def listed(path: str) -> set[str]:
        links = marta.get_page(path).select("a[href^='/links/']")
        return {str(a["href"]).removeprefix("/links/").split("?")[0] for a in links}

    assert listed("/links") == {str(waiting)}
    assert listed("/links?linked=no") == {str(waiting)}
    assert listed("/links?linked=yes") == {str(linked)}
    assert listed("/links?q=404") == {str(waiting)}
    assert listed("/links?q=393") == set()
    assert listed(f"/links?instructor={anna.instructor_id}") == {str(waiting)}


def test_the_form_says_when_the_first_message_was_sent_not_when_a_row_was_made(marta: Browser, anna: Desk):
    def head(conversation_id: UUID) -> str:
        (said,) = marta.get_page(f"/links/{conversation_id}").select(".talk .head .soft")
        return " ".join(said.text.split())

    conversation_id = anna.conversation("393331234567", at=1_600_000_000)
    anna.conversation("393331234567", at=1_790_000_000)
    assert "first message 13 Sep 2020" in head(conversation_id)
    execute("UPDATE messages SET kind = 'system' WHERE sent_at < '2021-01-01'")
    assert "first message 21 Sep 2026" in head(conversation_id)
    execute("UPDATE messages SET kind = 'system'")
    assert "first" not in head(conversation_id)
    execute("DELETE FROM messages")
    assert "first" not in head(conversation_id)


def test_the_history_reads_as_sentences_newest_first(marta: Browser, anna: Desk):
    conversation_id, other = anna.conversation("393331234567"), anna.customer("393330000000")
    anna.link(conversation_id, reason="one")
    anna.link(conversation_id, other, confirmed=True, reason="two")
    anna.unlink(conversation_id, reason="three")
    items = marta.get_page(f"/links/{conversation_id}").select(".history li")
    told = [" ".join(item.get_text(" ").split()) for item in items]
    assert [line.split()[2] for line in told] == ["removed", "replaced", "linked"]
    for line, reason in zip(told, ("three", "two", "one"), strict=True):
        assert line.startswith("Marta Rossi ")
        assert reason in line


def test_a_long_history_shows_the_newest_events_and_the_one_that_was_seen(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    others = [anna.customer("447000001"), anna.customer("447000002")]
    anna.link(conversation_id, others[0], reason="the first")
    path = f"/links/{conversation_id}"
    opened = marta.get_page(path)
    for number in range(history.MAX_SHOWN + 2):
        anna.link(conversation_id, others[(number + 1) % 2], confirmed=True, reason=f"change {number}")
    page = marta.get_page(path)
    told = [item.get_text(" ") for item in page.select(".history li")]
    assert len(told) == history.MAX_SHOWN
    assert "change 51" in told[0]
    assert "change 2" in told[-1]
    assert "3 older changes" in page.get_text()
    answer = marta.submit(opened, path, reason=TYPED, customer_id=str(others[1]), overwrite="1")
    assert answer.status_code == 409
    then = BeautifulSoup(answer.text, "html.parser").select("dl.change dd")[0]
    assert then.get_text("", strip=True).replace(" ", "") == "+447000001"
    assert ": change 51" in " ".join(BeautifulSoup(answer.text, "html.parser").get_text(" ").split())


def test_next_passes_over_many_pages_of_what_cannot_be_linked_in_one_request(marta: Browser, anna: Desk):
    wanted = anna.conversation("393331234567", at=1_600_000_000)
    short_codes = (str(40_000 + number) for number in range(2 * QUEUE_SIZE + 1))
    run(anna.cli, "ingest", "-", stdin="\n".join(payload(anna.phone_number_id, code) for code in short_codes))
    answer = marta.http.get("/links/next")
    assert answer.status_code == 302
    assert answer.location.startswith(f"/links/{wanted}?")
    page = marta.get_page(answer.location)
    assert page.select_one(f"#row-{wanted} [aria-current=page]")


def test_next_goes_from_page_to_page_and_begins_again_at_the_top(marta: Browser, anna: Desk):
    made = [anna.conversation(f"3933312345{number:02}", at=1_600_000_000 + number) for number in range(3)]
    for here, following in ((made[2], made[1]), (made[1], made[0]), (made[0], made[2])):
        assert marta.http.get(f"/links/next?after={here}").location == f"/links/{following}"
    assert marta.http.get("/links/next").location == f"/links/{made[2]}"


@pytest.mark.shows("CM-2.4.7", "T6.4")
def test_a_page_that_a_browser_without_scripting_cannot_ask_for_again_has_its_badges(
    marta: Browser, anna: Desk
):
    conversation_id, _ = anna.conversation("393331234567"), anna.conversation("393330000000")
    path = f"/links/{conversation_id}"

    def states(page: BeautifulSoup) -> list[object]:
        return [badge.get("data-state") for badge in page.select(".queue .badge")]

    form = marta.get_page(path)
    assert states(form) == [None, None]
    assert form.select("noscript meta")
    refused = marta.check(marta.submit(form, path, create="1", reason=""), 422)
    assert states(refused) == ["unlinked", "unlinked"]
    for page in (path, "/links"):
        version = link_state(conversation_id).link_version
        to = path if version == 0 else f"{path}/unlink"
        marta.submit(marta.get_page(path), to, create="1", reason="said so", confirm="1")
        saved = marta.get_page(page)
        assert saved.select(".done")
        assert None not in states(saved)
        assert not saved.select("noscript meta, [hx-get^='/badges']")
    data = {"csrf_token": fields_of(form.select("form.account")[0])["csrf_token"]}
    scripted = marta.http.post(path, data=data, headers={"HX-Request": "true"})
    assert states(marta.check(scripted, 428)) == [None, None]
