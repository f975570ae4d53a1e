"""The link form and the unlink form: what a write has to bring, checked before the service is asked."""

import unicodedata
from uuid import UUID

from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, HiddenField, StringField
from wtforms.validators import Length, ValidationError

LONGEST_REASON = 500


def storable(_form: FlaskForm, field: Field) -> None:
    """Refuse what no database keeps and no reader sees: control characters, line breaks and tabs aside."""
    if any(unicodedata.category(one) == "Cc" and one not in "\t\n\r" for one in field.data or ""):
        raise ValidationError("The reason has control characters, which can’t be kept. Remove them.")


def not_blank(_form: FlaskForm, field: Field) -> None:
    """Refuse white space alone."""
    if not (field.data or "").strip():
        raise ValidationError("Give a reason: it is kept in the audit trail.")


class WriteForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """What every change of a link brings."""

    reason = StringField(
        "Reason",
        validators=[
            not_blank,
            Length(max=LONGEST_REASON, message=f"Keep the reason under {LONGEST_REASON} characters."),
            storable,
        ],
    )
    seen_version = HiddenField()
    operation_id = HiddenField()

    @property
    def lacks_precondition(self) -> bool:
        """Say whether the form came without the version it was made from, or without its operation id."""
        return not (self.seen_version.data and self.operation_id.data)

    @property
    def seen(self) -> int | None:
        """Return the version that the form was made from; None for what can't be one."""
        said = self.seen_version.data or ""
        return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None

    @property
    def damaged(self) -> bool:
        """Say whether what the form carried unseen can't be read."""
        return bool(self.seen_version.errors or self.operation_id.errors)

    def validate_seen_version(self, _field: Field) -> None:
        """Take a version as the form had it."""
        if self.seen is None:
            raise ValidationError("damaged")

    def validate_operation_id(self, field: Field) -> None:
        """Take an operation id as the form had it."""
        if as_uuid(field.data) is None:
            raise ValidationError("damaged")


class LinkForm(WriteForm):
    """Link or relink: a customer, or the explicit choice to create one."""

    customer_id = StringField("Customer")
    create = BooleanField(false_values=("", "0", "false"))
    overwrite = BooleanField(false_values=("", "0", "false"))

    def validate_customer_id(self, field: Field) -> None:
        """Take exactly one of the two choices."""
        if self.create.data == bool(field.data):
            raise ValidationError("Choose a customer, or create one: one of the two.")
        if field.data and as_uuid(field.data) is None:
            raise ValidationError("That is not one of this instructor’s customers. Choose one from the list.")


class UnlinkForm(WriteForm):
    """Unlink."""

    confirm = BooleanField(false_values=("", "0", "false"))


def as_uuid(text: str | None) -> UUID | None:
    """Read an id out of a field; None for what is none."""
    try:
        return UUID(text or "")
    except ValueError:
        return None
