"""A person is erased while the process is killed, an operator links, and a message arrives."""

from verification.faults.crashes import apart
from verification.faults.databases import Database
from verification.faults.erasures import interfere, kill
from verification.faults.figures import Figures, sizes


@sizes(short=6, full=1)
def test_a_kill_at_any_boundary_erases_everything_or_nothing(database: Database, figures: Figures, size: int):
    figures("kills, after each everything or nothing there", apart(kill, database.settings, every=size))


@sizes(short=4, full=1)
def test_a_link_or_a_message_meanwhile_leaves_nothing_half(database: Database, figures: Figures, size: int):
    for outcome, number in apart(interfere, database.settings, every=size).items():
        figures(f"came to: {outcome}", number)
