"""Draws docs/images/terminal.svg: the session on docs/versions.md, as a terminal shows it.

A test runs the session on real servers (`tests/integration/docs/test_pages.py`), so the picture
shows what the commands really print.
"""

import io
import re
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from docsgen.pages import page

SESSION: Final = "docs/versions.md"
_TITLE: Final = "rollbook"
# Background, foreground, then the eight colours and their bright variants.
_THEME: Final = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)


def terminal() -> str:
    """Return the picture as an SVG document that needs no font from elsewhere."""
    session = next(block.text for block in page(SESSION).blocks if block.language == "console")
    lines = session.rstrip().splitlines()
    console = Console(
        record=True, file=io.StringIO(), width=max(map(len, lines)) + 1, force_terminal=True
    )
    for line in lines:
        prompt, _, command = line.partition("$ ")
        if prompt == "" and command:
            console.print(Text.assemble(("$ ", "green"), (command, "bold")))
        else:
            console.print(Text(line))
    drawn = console.export_svg(title=_TITLE, theme=_THEME, unique_id="terminal")
    drawn = re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    return drawn.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas")
