"""Turns text of the code into Markdown that shows it unchanged."""

from collections.abc import Iterable, Iterator


def table(columns: list[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a table, then an empty one; nothing for a table without rows."""
    lines = [_row(cells) for cells in rows]
    if lines:
        yield _row(columns)
        yield "|" + "---|" * len(columns)
        yield from lines
        yield ""


def code(text: str, *, otherwise: str = "") -> str:
    """Return `text` as code, or `otherwise` where it is empty."""
    return f"`{text}`" if text else otherwise


def plain(text: str) -> str:
    """Return prose in which Markdown sees no tags and no emphasis; code spans are unchanged."""
    pieces = text.split("`")
    pieces[::2] = [piece.replace("<", "\\<").replace("*", "\\*") for piece in pieces[::2]]
    return "`".join(pieces)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
