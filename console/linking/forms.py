"""The link form and the unlink form: what a write has to bring, checked before the service is asked."""

from uuid import UUID

from flask_wtf import FlaskForm
from wtforms import BooleanField, Field, HiddenField, StringField
from wtforms.validators import ValidationError

from console.database import read_id
from console.text import reason_fault

# Fields that the page fills in, not the person.
_UNTYPED = ("seen_version", "operation_id", "create", "overwrite", "confirm")


class YesField(BooleanField):
    """A stated intent (CM-2.3): `1` is yes; absent, empty or `0` is no; anything else is an error."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """Read what was sent; raises ValueError for any other value."""
        self.data = False
        if not {"1", "0", ""}.issuperset(valuelist):
            raise ValueError("1 is yes, 0 is no")
        self.data = valuelist[:1] == ["1"]


class WriteForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """What every change of a link brings."""

    reason = StringField("Reason")
    seen_version = HiddenField()
    operation_id = HiddenField()
    # Each form reads all three, because an invalid value of any of them is refused.
    create = YesField()
    overwrite = YesField()
    confirm = YesField()

    @property
    def lacks_precondition(self) -> bool:
        """Say whether the form came without the version it was made from, or without its operation id."""
        return not (self.seen_version.data and self.operation_id.data)

    @property
    def seen(self) -> int | None:
        """Return the version that the form was made from; None where it is no version."""
        said = self.seen_version.data or ""
        return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None

    @property
    def damaged(self) -> bool:
        """Say whether a hidden field is invalid, or any field came with two values."""
        unread = (self[name].errors for name in _UNTYPED)
        return any(unread) or self._contradicts_itself

    @property
    def _contradicts_itself(self) -> bool:
        return any(len(set(field.raw_data or ())) > 1 for field in self)

    def validate(self, extra_validators: object = None) -> bool:
        """Check every field, and that none came with two values."""
        return bool(super().validate(extra_validators)) and not self._contradicts_itself

    def validate_reason(self, field: Field) -> None:
        """Take a reason that can be seen and kept."""
        if fault := reason_fault(field.data or ""):
            raise ValidationError(fault)

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

    def validate_customer_id(self, field: Field) -> None:
        """Take exactly one of the two choices."""
        if self.create.data == bool(field.data):
            raise ValidationError("Choose a customer or create one.")
        if field.data and as_uuid(field.data) is None:
            raise ValidationError("That is not one of this instructor’s customers. Choose one from the list.")


class UnlinkForm(WriteForm):
    """Unlink."""


def as_uuid(text: str | None) -> UUID | None:
    """Read an id out of a field; None for any other text."""
    try:
        return read_id(text or "")
    except ValueError:
        return None
