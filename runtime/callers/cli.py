"""The commands `rollbook keys`: who may call the services over HTTP."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from runtime.callers.caller import ALL_SCOPES, Scope, check_name
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import (
    Parsed,
    json_option,
    print_fields,
    print_json,
    print_table,
    say,
)
from runtime.settings import Settings
from schemas.errors import Misconfigured

_MOST_DAYS = 3650


@click.group()
def keys() -> None:
    """Create, list and revoke the keys that may call the services over HTTP."""


@keys.command()
@click.argument("name", type=Parsed("name", check_name))
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do; may be repeated. Default: commands and queries.",
)
@click.option(
    "--days", type=click.IntRange(1, _MOST_DAYS), help="Days until the key expires. Default: never."
)
@click.option(
    "--requests-per-second",
    "rate",
    type=click.FloatRange(0),
    help="Requests that this key may make, per process; 0: any number. Default: as the setting "
    "http_requests_per_second says.",
)
@json_option
@pass_settings
def create(
    settings: Settings,
    *,
    name: str,
    scopes: tuple[str, ...],
    days: int | None,
    rate: float | None,
    as_json: bool,
) -> None:
    """Create a key for the caller NAME and print it. It is not stored, so it cannot be shown again.

    Only its hash is written to the file that http_keys_file names; running services read it within
    about a second. Every event of a user that the caller changes keeps the NAME for ever.

    \b
    Examples:
      rollbook keys create shop --scope commands
      rollbook keys create support --scope queries --scope commands --scope erase --days 90
    """  # noqa: D301 - \b tells click not to rewrap
    from runtime.callers.key_file import add_key, new_key

    now = datetime.now(UTC)
    key, text = new_key(
        name,
        frozenset(Scope(scope) for scope in scopes) or ALL_SCOPES - {Scope.ERASE, Scope.OPERATE},
        expires_at=now + timedelta(days=days) if days else None,
        requests_per_second=rate,
    )
    add_key(_path(settings), key)
    record = {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "expires_at": key.expires_at or None,
        "key": text,
    }
    if as_json:
        print_json(record)
    else:
        print_fields(record | {"scopes": ", ".join(key.scopes)})
        say("keep the key now: only its hash is stored")


@keys.command("list")
@json_option
@pass_settings
def list_keys(settings: Settings, *, as_json: bool) -> None:
    """List the keys with their scopes and states. The keys themselves are not stored.

    \b
    Example:
      rollbook keys list
    """  # noqa: D301 - \b tells click not to rewrap
    from runtime.callers.key_file import read_keys

    now = datetime.now(UTC)
    found = read_keys(_path(settings)).values()
    if as_json:
        for key in found:
            print_json(
                {
                    "id": key.id,
                    "name": key.name,
                    "scopes": list(key.scopes),
                    "state": key.state(now),
                    "created_at": key.created_at,
                    "expires_at": key.expires_at or None,
                    "revoked_at": key.revoked_at or None,
                    "requests_per_second": key.requests_per_second,
                }
            )
        return
    rows = (
        (k.id, k.name, ", ".join(k.scopes), k.state(now), k.created_at, k.expires_at) for k in found
    )
    print_table(["id", "name", "scopes", "state", "created", "expires"], rows)


@keys.command()
@click.argument("key_id", metavar="ID")
@pass_settings
def revoke(settings: Settings, *, key_id: str) -> None:
    """Revoke a key; running services refuse it within about a second.

    \b
    Example:
      rollbook keys revoke 5f0c1d2e3a4b
    """  # noqa: D301 - \b tells click not to rewrap
    from runtime.callers.key_file import revoke_key

    key = revoke_key(_path(settings), key_id)
    say(f"key {key.id} of {key.name} is revoked")


def _path(settings: Settings) -> Path:
    if not settings.http_keys_file:
        raise Misconfigured(
            "there is nowhere to keep keys: the setting http_keys_file is not set",
            code="no_keys_file",
            next_step="set it for this command and for the services",
        )
    return Path(settings.http_keys_file)
