"""`rollbook serve`: one group of commands from several packages, each of which runs a service.

A command is imported when it is called, as in `scripts.cli`.
"""

from scripts.lazy import LazyGroup

TABLE = {
    "commands": ("producers.service.cli:commands", "Serve commands: create and change users."),
    "queries": (
        "scripts.serve_queries:queries",
        "Serve queries, events and, if asked to, operations.",
    ),
    "console": ("scripts.console.cli:console", "Serve the console: pages for a browser."),
}
serve = LazyGroup(name="serve", help="Serve commands and queries over HTTP.", table=TABLE)
