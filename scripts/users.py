"""`rollbook users`: one group of commands for people, though two sides answer it.

Writing goes through `producers`, reading through `projectors`; neither imports the other, so the
group is put together here. As in `scripts.cli`, a command is imported when it is called.
"""

from scripts.lazy import LazyGroup

users = LazyGroup(
    name="users",
    help="Create, change, find and import users.",
    table={
        "create": ("producers.users_cli:create", "Create a user."),
        "update": ("producers.users_cli:update", "Change a user's name or age."),
        "change-email": ("producers.change_cli:change_email", "Give a user another address."),
        "delete": ("producers.change_cli:delete", "Delete a user; its history stays."),
        "erase": ("producers.change_cli:erase", "Erase a user with all of its history."),
        "import": ("producers.import_cli:import_users", "Create users from CSV or NDJSON."),
        "export": ("projectors.export_cli:export_users", "Write every user as NDJSON."),
        "get": ("projectors.users_cli:get", "Show one user, as it is or was."),
        "history": ("projectors.history_cli:history", "Show everything that happened to a user."),
        "list": ("projectors.users_cli:list_users", "List users by age."),
        "summary": ("projectors.users_cli:summary", "Show totals, average age and age groups."),
        "search": ("projectors.search_cli:search", "Find users by name, e-mail or age."),
        "suggest": (
            "projectors.search_cli:suggest",
            "Say whom a beginning may mean, as one types.",
        ),
    },
)
