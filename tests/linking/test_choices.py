"""The customers that an operator has to choose from, and how much the desk says is left to do."""

from uuid import UUID

from console.linking.queries import MAX_CUSTOMERS
from testkit.databases import POSTGRESQL, execute
from testkit.factories import Desk, payload, run, user
from testkit.pages import Browser

MORE = "There are more customers than are shown. Type more digits."


def offered(browser: Browser, conversation_id: UUID, **query: object) -> tuple[list[str], str]:
    """Return the identifiers that a search offers, in their order, and what it says that it found."""
    answer = browser.http.get(f"/links/{conversation_id}/customers", query_string=query)
    page = Browser.parse(answer.text)
    (found,) = page.select("#customers-found")
    return [shown.text.lstrip("+") for shown in page.select(".choice .identifier")], found.text.strip()


def test_the_own_and_the_chosen_customer_come_first_however_many_match(
    marta: Browser, anna: Desk, engine: str
):
    others = [f"US.a{number:02}" for number in range(MAX_CUSTOMERS + 1)]
    chosen, own = anna.customer("US.ay"), anna.conversation("US.az")
    for identifier in reversed(others):
        anna.customer(identifier)
    assert offered(marta, own) == (others[:MAX_CUSTOMERS], MORE)
    anna.customer("US.az")
    if engine == POSTGRESQL:  # the order is asked for, not the index's
        execute(
            "ALTER TABLE customers DROP CONSTRAINT uq_customers_instructor_id_channel_normalized_identifier"
        )
    for q in ("", "us.A"):
        assert offered(marta, own, q=q) == (["US.az", *others[: MAX_CUSTOMERS - 1]], MORE)
        both = ["US.az", "US.ay", *others[: MAX_CUSTOMERS - 2]]
        assert offered(marta, own, q=q, customer_id=chosen) == (both, MORE)


def test_customers_that_do_not_match_are_offered_only_where_chosen(marta: Browser, anna: Desk):
    anna.customer("393331234567")
    conversation_id, chosen = anna.conversation("393331234567"), anna.customer("US.Abc")
    for q in ("999", "+"):
        assert offered(marta, conversation_id, q=q) == ([], "0 customers found")
        assert offered(marta, conversation_id, q=q, customer_id=chosen) == (["US.Abc"], "0 customers found")
    for q in ("us.ABC", "bC"):
        assert offered(marta, conversation_id, q=q) == (["US.Abc"], "1 customer found")


def test_a_full_list_of_customers_says_that_there_are_more_only_where_there_are(marta: Browser, anna: Desk):
    for number in range(MAX_CUSTOMERS):
        anna.customer(f"3933300{number:05}")
    conversation_id = anna.conversation("40404")
    assert offered(marta, conversation_id, q="39")[1] == f"{MAX_CUSTOMERS} customers found"
    anna.customer("447700900123")
    assert offered(marta, conversation_id, q="39")[1] == f"{MAX_CUSTOMERS} customers found"
    anna.customer("393339999999")
    assert offered(marta, conversation_id, q="39")[1] == MORE


def test_a_choice_says_how_many_conversations_the_customer_is_linked_to(marta: Browser, anna: Desk):
    customer_id, conversation_id = anna.customer("393331234567"), anna.conversation("40404")
    anna.customer("393330000000")
    for sender in ("393331234567", "393331234568"):
        anna.link(anna.conversation(sender), customer_id)
    told = [choice.text for choice in marta.get_page(f"/links/{conversation_id}").select("#choices .choice")]
    assert [text.split("·")[-1].split()[:3] for text in told] == [
        ["0", "conversations", "linked"],
        ["2", "conversations", "linked"],
    ]


def test_the_desk_counts_what_is_left_to_link_of_one_instructor(marta: Browser, anna: Desk, bruno: Desk):
    user(anna.cli, bruno.instructor_id, "operator", anna.operator.email)
    for desk, count in ((anna, 2), (bruno, 3)):
        ids = [desk.conversation(f"39333123456{number}") for number in range(count + 1)]
        desk.link(ids[0])
        for path in (f"/links?instructor={desk.instructor_id}", *(f"/links/{row}" for row in ids)):
            page = marta.get_page(path)
            assert [said.text for said in page.select(".queue .tabs .soft")] == [str(count)]
        assert f"{count} not linked" in {said.text.lstrip("· ") for said in page.select(".back .soft")}


def test_the_desk_counts_to_a_hundred(marta: Browser, anna: Desk):
    lines = [payload(anna.phone_number_id, f"3933300{number:05}") for number in range(99)]
    run(anna.cli, "ingest", "-", stdin="\n".join(lines))
    for sender, said in (("40404", "100"), ("50505", "more than 100")):
        for path in (f"/links/{anna.conversation(sender)}", "/links"):
            (left,) = marta.get_page(path).select(".queue .tabs .soft")
            assert left.text == said
