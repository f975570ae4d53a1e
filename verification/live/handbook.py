"""The commands of docs/operations.md, as they stand there."""

import re

from console.config import ROOT

OPERATIONS = ROOT / "docs" / "operations.md"
SECTION = "Install on Debian"
_BLOCK = re.compile(
    r"^\*\*(?P<title>[^*]+?)\.?\*\*(?:(?!^\*\*).)*?^```sh\n(?P<script>.*?)^```$", re.DOTALL | re.MULTILINE
)


def steps() -> dict[str, str]:
    """Return the shell script of each step of the installation, by its title and in its order."""
    _, _, after = OPERATIONS.read_text().partition(f"\n## {SECTION}\n")
    section, _, _ = after.partition("\n## ")
    return {found["title"]: found["script"] for found in _BLOCK.finditer(section)}
