"""The end of a server's log, for messages about what the server did."""

import re
from pathlib import Path

_STACK_FRAME = re.compile(r"\s+(at |\.\.\. \d+ more)")


def last_lines(path: Path, count: int = 12, *, only: str = "") -> str:
    """Return the last lines of a log, indented, without Java's stack frames.

    If any lines match `only`, the last of those.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "  (there is no log)"
    matching = [line for line in lines if only and re.search(only, line)]
    telling = [line for line in matching or lines if line.strip() and not _STACK_FRAME.match(line)]
    return "\n".join(f"  {line[:300]}" for line in telling[-count:]) or "  (empty)"
