"""The console's tables, read only."""

from typing import Any

from django.db import models


class Id(models.UUIDField):
    """A UUID as the console keeps it: hyphenated text on SQLite."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """Turn a UUID into what the driver takes."""
        value = value if prepared else self.to_python(value)
        return str(value) if value and connection.vendor == "sqlite" else value


class Customer(models.Model):
    """A person whom an instructor knows."""

    id = Id(primary_key=True)
    instructor_id = Id()
    channel = models.TextField()
    normalized_identifier = models.TextField()

    class Meta:
        managed = False
        db_table = "customers"


class Conversation(models.Model):
    """A thread."""

    id = Id(primary_key=True)
    instructor_id = Id()
    channel = models.TextField()
    customer_identifier = models.TextField(null=True)
    status = models.TextField()
    last_message_at = models.DateTimeField()
    customer_id = Id(null=True)

    class Meta:
        managed = False
        db_table = "conversations"


class Message(models.Model):
    """One message of a thread."""

    id = Id(primary_key=True)
    conversation = models.ForeignKey(Conversation, models.DO_NOTHING)
    body = models.TextField(null=True)
    sent_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "messages"
