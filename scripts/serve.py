"""`rollbook serve`: one group of commands from several packages, each of which runs a service.

A command is imported when it is called, as in `scripts.cli`.
"""

from importlib.util import find_spec

from scripts.lazy import LazyGroup

_SERVICES = {
    "commands": ("producers.service.cli:commands", "Serve commands: create and change users."),
    "queries": ("scripts.serve_queries:queries", "Serve queries, events and operations."),
    "console": ("scripts.console.cli:console", "Serve the console: pages for a browser."),
}


def _exists(path: str) -> bool:
    module = path.partition(":")[0]
    parent = module.rpartition(".")[0]
    return find_spec(parent) is not None and find_spec(module) is not None


# What is still being built is left out.
TABLE = {name: row for name, row in _SERVICES.items() if _exists(row[0])}
serve = LazyGroup(name="serve", help="Serve commands and queries over HTTP.", table=TABLE)
