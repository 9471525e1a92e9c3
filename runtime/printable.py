"""Text that is safe to print: whatever is stored or received must not control a terminal."""

import re
from typing import Final
from unicodedata import category

_JOINERS: Final = "\u200c\u200d"
_NAME: Final = re.compile(r"[\w.:-]{1,300}", re.ASCII)


def printable(text: str) -> str:
    """Return `text` with control characters escaped.

    Joiners and the spaces of other scripts, which occur in names, are kept.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _JOINERS or category(c) == "Zs" else _escaped(c) for c in text
    )


def name_in_error(text: str) -> str:
    """Return a name that somebody asked for, to say in an error that it does not exist.

    What is not written as a name is left out: it may be an address that was put in its place.
    """
    return text if _NAME.fullmatch(text) else "of this name"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
