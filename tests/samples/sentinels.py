"""Finds texts that occur nowhere else, such as a password of a test, in whatever was written.

Something that leaks is seldom as it was given: a library writes it percent-encoded in a URL, or in
base64 in a header. So each is searched for in these forms as well.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus


def found_in(text: str, sentinels: Iterable[str]) -> list[str]:
    """Return which of `sentinels` are in a text, in any form."""
    lower = text.lower()
    return [
        one
        for one in sentinels
        if any(form in lower for form in _encoded(one.lower()))
        or any(part in text for part in _in_base64(one))
    ]


def found_in_process(pid: int, sentinels: Iterable[str]) -> list[str]:
    """Return which of `sentinels` anybody can read in the command line of a running process.

    Or its own user, and root, in its environment.
    """
    files = (Path("/proc", str(pid), name) for name in ("cmdline", "environ"))
    return found_in("\n".join(_text_of(file) for file in files), sentinels)


def _text_of(file: Path) -> str:
    try:
        return file.read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return ""


def _encoded(sentinel: str) -> Iterator[str]:
    yield sentinel
    yield quote(sentinel, safe="").lower()
    yield quote_plus(sentinel).lower()
    yield json.dumps(sentinel)[1:-1]


def _in_base64(sentinel: str) -> Iterator[str]:
    """Yield the characters that stand for all of a text, wherever in what is encoded it begins.

    Each character is 6 bits. The first and the last ones also have bits of what is beside the text.
    """
    content = sentinel.encode()
    for before in range(3):
        bits = 8 * (before + len(content))
        whole = slice(-(-8 * before // 6), bits // 6)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + content).decode()[whole]
