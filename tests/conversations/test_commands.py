"""`flask identifier` and `flask badge`."""

import json
from uuid import uuid4

import pytest
from flask.testing import FlaskCliRunner

from testkit.factories import Desk, link_state, run


def test_identifiers_are_normalised_a_line_each(cli: FlaskCliRunner):
    written = ["+39 333 123 4567", "40404", "", "US.abc", "-x", "--39", "\udcff", "a\nb"]
    assert run(cli, "identifier", "normalize", "--", *written).splitlines() == [
        "393331234567",
        "null",
        "null",
        "US.abc",
        *["null"] * 4,
    ]
    assert run(cli, "identifier", "normalize", "-39") == "null"


@pytest.mark.shows("CM-2.2.13")
def test_a_badge_is_one_json_line_with_its_basis(cli: FlaskCliRunner, anna: Desk):
    known, new, unlinked = (anna.conversation(sender) for sender in ("393330000001", "393330000002", "40404"))
    anna.link(known)
    anna.link(new)
    customer_id = str(link_state(new).customer_id)
    anna.unlink(new)
    assert [json.loads(run(cli, "badge", str(row))) for row in (known, new, unlinked)] == [
        {
            "state": "known",
            "resolution": "linked",
            "reason": None,
            "customer_id": str(link_state(known).customer_id),
        },
        {"state": "new", "resolution": "match", "reason": None, "customer_id": customer_id},
        {"state": "unlinked", "resolution": "none", "reason": "invalid_identifier", "customer_id": None},
    ]


def test_a_badge_of_nothing_fails_in_one_line(cli: FlaskCliRunner):
    for argument, code in ((str(uuid4()), 1), ("garbage", 2)):
        result = cli.invoke(args=["badge", argument])
        assert result.exit_code == code
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
