"""`rollbook users`: one group of commands from two packages.

Commands that write are in `producers`, queries are in `projectors`. Neither imports the other, so
the group is assembled here. As in `scripts.cli`, a command is imported when it is called.
"""

from scripts.lazy import LazyGroup

users = LazyGroup(
    name="users",
    help="Create, change, find and import users.",
    table={
        "create": ("producers.cli.users:create", "Create a user."),
        "update": ("producers.cli.users:update", "Change a user's name or age."),
        "change-email": ("producers.cli.change:change_email", "Give a user another address."),
        "delete": ("producers.cli.change:delete", "Delete a user; its history stays."),
        "erase": ("producers.cli.change:erase", "Erase a user with all of its history."),
        "import": ("producers.cli.import_users:import_users", "Create users from CSV or NDJSON."),
        "export": ("projectors.cli.export:export_users", "Write every user as NDJSON."),
        "get": ("projectors.cli.users:get", "Show one user, now or at a point in time."),
        "history": ("projectors.cli.history:history", "Show everything that happened to a user."),
        "list": ("projectors.cli.users:list_users", "List users by age."),
        "summary": ("projectors.cli.users:summary", "Show totals, average age and age groups."),
        "search": ("projectors.cli.search:search", "Find users by name, e-mail or age."),
        "suggest": (
            "projectors.cli.search:suggest",
            "Suggest users while a name or address is being typed.",
        ),
    },
)
