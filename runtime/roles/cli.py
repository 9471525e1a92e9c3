"""The command `rollbook acl show`: the table of roles as commands for the servers' own tools."""

from typing import Final

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import json_option, print_json
from runtime.settings import Settings

_SERVERS: Final = ("kafka", "registry", "postgres", "elasticsearch")


@click.group()
def acl() -> None:
    """Show which login needs which permissions on the servers."""


@acl.command()
@click.option("--role", "names", multiple=True, help="Only this role; repeatable.")
@click.option(
    "--server",
    "servers",
    multiple=True,
    type=click.Choice(_SERVERS),
    help="Only this server; repeatable.",
)
@json_option
@pass_settings
def show(
    settings: Settings, *, names: tuple[str, ...], servers: tuple[str, ...], as_json: bool
) -> None:
    """Print what gives each role what it needs, and nothing else. Changes nothing.

    Roles are logins of their own: operator, client, handler, queries, one for each projector
    (projector-postgres, …), and registry, for a schema registry that keeps its schemas in Kafka
    (docs/reference/roles.md). If the setting prefix is set, names begin with it.

    With --server, the output is a shell script for Kafka's tools, SQL for psql, or the roles.yml of
    Elasticsearch. For the registry it is a list of requests, for a proxy. It also creates the
    logins, or a comment says how: the tools ask for passwords or read them from files.

    \b
    Examples:
      rollbook acl show --server kafka --role client
      rollbook acl show --server postgres > roles.sql
      rollbook acl show --json
    """  # noqa: D301 - \b tells click not to rewrap
    from runtime.roles.show import RECORDS, TEXTS
    from runtime.roles.table import role_named, roles

    chosen = [role_named(settings, name).name for name in names] or list(roles(settings))
    for server in servers or _SERVERS:
        if as_json:
            for record in RECORDS[server](settings, chosen):
                print_json({"server": server, **record})
        else:
            for line in TEXTS[server](settings, chosen):
                click.echo(line)
