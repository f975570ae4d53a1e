"""What CM-1 says, written a second time: slowly, and without a regular expression."""

from string import ascii_letters, ascii_uppercase

ASCII_DIGITS = "0123456789"
SEPARATORS = " \u00a0\u202f-\u2011./"
DIRECTION_MARKS = "".join(map(chr, [0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
WHITE_SPACE = "".join(
    map(
        chr,
        [
            *range(0x09, 0x0E),
            *(0x20, 0x85, 0xA0, 0x1680),
            *range(0x2000, 0x200B),
            *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
        ],
    )
)


def read_by_character(raw: str) -> str | None:
    """Answer as CM-1 does, one character at a time: slow, and without a regular expression."""
    number = raw.strip(WHITE_SPACE + DIRECTION_MARKS)
    if number.startswith("+"):
        number = number[1:]
    elif number.startswith("00"):
        number = number[2:].lstrip(SEPARATORS)
    return _phone_number(number) or _user_id(raw.strip(WHITE_SPACE))


def _phone_number(number: str) -> str | None:
    digits = ""
    in_brackets: str | None = None
    for character in number:
        if character in ASCII_DIGITS:
            digits += character
            in_brackets = None if in_brackets is None else in_brackets + character
        elif character == "(" and in_brackets is None:
            in_brackets = ""
        elif character == ")" and in_brackets and in_brackets[0] != "0":
            in_brackets = None
        elif character not in SEPARATORS:
            return None
    between_digits = number[:1] in tuple("123456789") and number[-1] in ASCII_DIGITS
    return digits if between_digits and in_brackets is None and 8 <= len(digits) <= 15 else None


def _user_id(text: str) -> str | None:
    country, dot, opaque = text[:2], text[2:3], text[3:].removeprefix("ENT.")
    country_is_right = len(country) == 2 and all(letter in ascii_uppercase for letter in country)
    opaque_is_right = all(character in ascii_letters + ASCII_DIGITS for character in opaque)
    return text if country_is_right and dot == "." and 1 <= len(opaque) <= 128 and opaque_is_right else None
