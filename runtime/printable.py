"""Text that is safe to print: whatever is stored or received must not control a terminal."""

from typing import Final
from unicodedata import category

_JOINERS: Final = "\u200c\u200d"


def printable(text: str) -> str:
    """Return `text` with control characters escaped.

    Joiners and the spaces of other scripts, which occur in names, are kept.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _JOINERS or category(c) == "Zs" else _escaped(c) for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
