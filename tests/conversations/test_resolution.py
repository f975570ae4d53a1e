"""CM-2.1: which customer a conversation is with, on a connection that can't write."""

import sqlite3
from uuid import uuid4

import pytest
from flask import Flask

from console.conversations.resolution import Outcome, Reason, Resolution, Subject, resolve
from console.database import db, reading


def test_the_file_itself_is_opened_read_only(app: Flask):
    driver = db.engines["read"].raw_connection().driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute("PRAGMA query_only = OFF")
    with pytest.raises(sqlite3.OperationalError, match="readonly database"):
        driver.execute("DELETE FROM customers")


def test_a_link_is_the_answer_and_nothing_else_is_looked_at(app: Flask):
    subject = Subject(uuid4(), uuid4(), "whatsapp", "393331234567", customer_id=uuid4())
    with reading() as connection:
        assert resolve(connection, [subject]) == [
            Resolution(subject.id, Outcome.LINKED, customer_id=subject.customer_id)
        ]


@pytest.mark.parametrize(
    ("identifier", "reason"),
    [
        (None, Reason.NO_IDENTIFIER),
        ("40404", Reason.INVALID_IDENTIFIER),
        ("393339999999", Reason.NO_CUSTOMER),
    ],
)
def test_nobody_has_a_reason(app: Flask, identifier: str | None, reason: Reason):
    subject = Subject(uuid4(), uuid4(), "whatsapp", identifier, None)
    with reading() as connection:
        assert resolve(connection, [subject]) == [Resolution(subject.id, Outcome.NONE, reason=reason)]
