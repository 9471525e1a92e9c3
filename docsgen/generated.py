"""Every file that is generated and committed, with what generates it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from docsgen.command_page import commands_page
from docsgen.flow import flow
from docsgen.roles_page import roles_page
from docsgen.table_pages import (
    checks_page,
    errors_page,
    metrics_page,
    settings_page,
    topics_page,
)
from docsgen.terminal import terminal
from docsgen.trace import trace

ROOT: Final = Path(__file__).parents[1]
FILES: Final[Mapping[str, Callable[[], str]]] = {
    "docs/reference/commands.md": commands_page,
    "docs/reference/settings.md": settings_page,
    "docs/reference/topics.md": topics_page,
    "docs/reference/errors.md": errors_page,
    "docs/reference/metrics.md": metrics_page,
    "docs/reference/checks.md": checks_page,
    "docs/reference/roles.md": roles_page,
    "docs/images/flow-light.svg": partial(flow, "light"),
    "docs/images/flow-dark.svg": partial(flow, "dark"),
    "docs/images/terminal.svg": terminal,
    "docs/images/trace-light.svg": partial(trace, "light"),
    "docs/images/trace-dark.svg": partial(trace, "dark"),
}
