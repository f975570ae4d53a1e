"""Every view of the console in each of its states, as steps that lead there."""

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page, expect

from tests.browser.conftest import Site, Visit
from tests.browser.world import KNOWN, LONG, NEW, OTHER_CUSTOMER, THREAD, UNLINKED


@dataclass(frozen=True)
class View:
    """A state of a page: its title, and how to get there."""

    title: str
    lead: Callable[[Visit, Site], object]
    signed_in: bool = True


def _open(path: str) -> Callable[[Visit, Site], object]:
    return lambda visit, site: visit.open(path.format(luca=site.world.luca, emma=site.world.emma))


def _conversation(sender: str, part: str = "conversations") -> Callable[[Visit, Site], object]:
    return lambda visit, _site: visit.open_conversation(sender, part)


def _refused_sign_in(visit: Visit, _site: Site) -> None:
    page = visit.open("/login")
    page.get_by_label("E-mail").fill("guest@example.org")
    page.get_by_label("Password").fill("nothing")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("is wrong")).to_be_visible()


def _all_messages(visit: Visit, _site: Site) -> None:
    page = visit.open_conversation(THREAD)
    for shown in (100, 122):
        page.get_by_role("link", name="Older messages").click()
        expect(page.locator(".messages li")).to_have_count(shown)


def _unanswered(visit: Visit, _site: Site) -> None:
    visit.expected = "status of 503"
    visit.page.route("**/badges?*", lambda route: route.fulfill(status=503))
    expect(visit.open("/conversations").get_by_text("Not every badge was loaded")).to_be_visible()


def _keys(visit: Visit, _site: Site) -> None:
    visit.open("/conversations").keyboard.press("?")
    expect(visit.page.get_by_role("dialog", name="Keys")).to_be_visible()


def _menu(visit: Visit, _site: Site) -> None:
    visit.page.set_viewport_size({"width": 740, "height": 360})
    visit.open("/conversations").get_by_role("button", name="Menu").click()


def _search_failed(visit: Visit, _site: Site) -> None:
    visit.expected = "status of 503"
    visit.page.route("**/rows?*", lambda route: route.fulfill(status=503))
    visit.open("/conversations").get_by_role("searchbox").fill("4")
    expect(visit.page.get_by_text("could not be loaded")).to_be_visible()


def _not_found(visit: Visit, _site: Site) -> None:
    visit.expected = "status of 404"
    visit.open("/conversations/nothing")


def _search_customers(visit: Visit, _site: Site) -> None:
    page = visit.open_conversation(UNLINKED, "links")
    page.get_by_role("searchbox").fill("4")
    page.get_by_role("radio").first.check()


def _refused(visit: Visit, _site: Site) -> None:
    page = visit.open_conversation(NEW, "links")
    fill_reason(page, " ")
    page.get_by_role("button", name="Link customer").click()
    expect(page.get_by_text("Give a reason")).to_be_visible()


def _saved(visit: Visit, _site: Site) -> None:
    link(visit.open_conversation(NEW, "links"), "+447700900123")
    expect(visit.page.locator(".done")).to_contain_text("Linked ")


def _replacing(visit: Visit, _site: Site) -> None:
    visit.open_conversation(KNOWN, "links").get_by_text("Replace the customer").click()


def _confirm_replacing(visit: Visit, _site: Site) -> None:
    page = visit.open_conversation(KNOWN, "links")
    page.get_by_text("Replace the customer").click()
    link(page, "+447700900456", "456", "Replace customer")
    expect(page.get_by_role("dialog")).to_be_visible()


def _confirm_removing(visit: Visit, _site: Site) -> None:
    page = visit.open_conversation(KNOWN, "links")
    page.get_by_text("Remove the link").click()
    fill_reason(page, "This was another person")
    page.get_by_role("button", name="Remove link").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def _stale(visit: Visit, site: Site) -> None:
    page = visit.open_conversation(NEW, "links")
    with site.app.app_context():
        site.world.desk(site.cli).link(site.world.conversations[NEW], site.world.customer_ids[NEW])
    link(page, "+447700900456", "456")
    expect(page.get_by_text("Someone changed this link")).to_be_visible()


def link(page: Page, customer: str, search: str = "", button: str = "Link customer") -> None:
    """Choose a customer, give a reason, and send."""
    if search:
        page.get_by_role("searchbox").fill(search)
    page.get_by_role("radio", name=customer).check()
    fill_reason(page, "Same number, said her name")
    page.get_by_role("button", name=button).click()


def fill_reason(page: Page, text: str) -> None:
    """Type a reason where one can be seen."""
    page.locator("[name=reason]:visible").fill(text)


VIEWS = {
    "sign-in": View("Sign in", _open("/login"), signed_in=False),
    "sign-in-refused": View("Sign in", _refused_sign_in, signed_in=False),
    "conversations": View("Conversations · Anna Kofler", _open("/conversations")),
    "conversations-found": View("“4477” in Conversations · Anna Kofler", _open("/conversations?q=4477")),
    "conversations-not-found": View("“999” in Conversations · Anna Kofler", _open("/conversations?q=999")),
    "conversations-none": View("Conversations · Emma Pichler", _open("/conversations?instructor={emma}")),
    "conversations-unanswered": View("Conversations · Anna Kofler", _unanswered),
    "conversations-keys": View("Conversations · Anna Kofler", _keys),
    "conversations-menu": View("Conversations · Anna Kofler", _menu),
    "conversations-failed": View("Conversations · Anna Kofler", _search_failed),
    "conversation-both": View(f"{OTHER_CUSTOMER} · Conversation", _conversation(OTHER_CUSTOMER)),
    "conversation": View("447700900123 · Conversation", _conversation(NEW)),
    "conversation-whole": View(f"{THREAD} · Conversation", _all_messages),
    "conversation-long": View("x…", _conversation(LONG)),
    "desk": View("Linking desk · Anna Kofler", _open("/links")),
    "desk-not-found": View("Linking desk · Anna Kofler", _open("/links?q=999")),
    "desk-none": View("Linking desk · Emma Pichler", _open("/links?instructor={emma}")),
    "desk-linked-none": View("Linking desk · Luca Moser", _open("/links?instructor={luca}&linked=yes")),
    "link": View("447700900123 · Linking desk", _conversation(NEW, "links")),
    "link-search": View("40404 · Linking desk", _search_customers),
    "link-refused": View("447700900123 · Linking desk", _refused),
    "linked": View("+39 333 123 4567 · Linking desk", _conversation(KNOWN, "links")),
    "linked-now": View("447700900123 · Linking desk", _saved),
    "replacing": View("+39 333 123 4567 · Linking desk", _replacing),
    "confirm-replacing": View("+39 333 123 4567 · Linking desk", _confirm_replacing),
    "confirm-removing": View("+39 333 123 4567 · Linking desk", _confirm_removing),
    "stale": View("447700900123 · Linking desk", _stale),
    "not-found": View("Not found", _not_found),
}
