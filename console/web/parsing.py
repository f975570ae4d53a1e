"""Form parsing that is strict: the console reads what its own forms send and refuses everything else."""

from io import BytesIO
from typing import IO, TYPE_CHECKING
from urllib.parse import parse_qsl

from flask import Request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.sansio.multipart import File

if TYPE_CHECKING:
    from werkzeug.formparser import t_parse_result


class InvalidForm(BadRequest):
    """A form that no browser sends for one of the console's pages."""

    cause = "form"
    words = (
        "This form is invalid",
        "Nothing was saved. Open the page again and send its form: fields of text, in UTF-8, and no files.",
    )


class _PartParser(MultiPartParser):
    def get_part_charset(self, headers: Headers) -> str:
        return "utf-8"

    def start_file_streaming(self, event: File, total_content_length: int | None) -> IO[bytes]:
        raise ValueError("the console's forms have no files")


class _StrictParser(FormDataParser):
    """Parse what the console's own forms send; raise InvalidForm for everything else.

    Werkzeug's own parser keeps bytes that aren't UTF-8 as percent signs or replacement characters.
    """

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> "t_parse_result":
        try:
            if mimetype == "multipart/form-data":
                raw = stream.read()
                raw.decode()  # raises UnicodeDecodeError; the parser would not
                boundary = (options or {})["boundary"].encode("ascii")
                parts = _PartParser(
                    max_form_memory_size=self.max_form_memory_size, max_form_parts=self.max_form_parts
                )
                form, _ = parts.parse(BytesIO(raw), boundary, content_length)
                items = list(form.items(multi=True))
                if not all(isinstance(name, str) for name, _ in items):
                    raise InvalidForm
            elif mimetype == "application/x-www-form-urlencoded":
                items = parse_qsl(stream.read().decode(), keep_blank_values=True, errors="strict")
            else:
                items = []
        except (KeyError, ValueError) as error:
            raise InvalidForm from error
        return stream, self.cls(items), self.cls()


class StrictRequest(Request):
    """A request whose form is parsed strictly."""

    form_data_parser_class = _StrictParser
