"""Two instructors with a WhatsApp account each."""

import pytest
from flask.testing import FlaskCliRunner

from testkit.factories import instructor, run
from tests.ingestion.payloads import ACCOUNT, OTHER_ACCOUNT


def add_accounts(cli: FlaskCliRunner) -> None:
    """Add Anna and Berta, each with an account."""
    for name, account in (("Anna", ACCOUNT), ("Berta", OTHER_ACCOUNT)):
        owner = instructor(cli, name)
        run(cli, "channel", "add", "whatsapp", account, "--instructor", str(owner))


@pytest.fixture
def accounts(cli: FlaskCliRunner) -> None:
    """Add two instructors with an account each."""
    add_accounts(cli)
