"""A command in the form that each client takes: as a request, a line, a record, a person."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from producers.client.build import (
    change_email_command,
    create_command,
    delete_command,
    erase_command,
    update_command,
)
from producers.importer.encode import content_id
from schemas.records import UserCommand
from tests.histories.history import Asked, Kind

# A handler that dies is replaced after its session.
PATIENCE_SECONDS: Final = 15.0
_MAKE: Final[Mapping[str, Callable[..., UserCommand]]] = {
    "create": create_command,
    "update": update_command,
    "change": change_email_command,
    "delete": delete_command,
    "erase": erase_command,
}
_CODES: Final[dict[Kind, str]] = {
    "create": "CreateUser",
    "update": "UpdateUser",
    "change": "ChangeEmail",
    "delete": "DeleteUser",
    "erase": "EraseUser",
}


def fields_of(asked: Asked) -> dict[str, Any]:
    """Return the fields of a command, without its id."""
    fields = {
        "user_id": asked.user_id,
        "email": asked.email,
        "name": asked.name,
        "age": asked.age,
        "expected_version": asked.expected_version,
    }
    return {name: value for name, value in fields.items() if value is not None}


def line_of(asked: Asked) -> dict[str, Any]:
    """Return a command as a line of a request for many."""
    return {"kind": _CODES[asked.kind], "command_id": asked.command_id, **fields_of(asked)}


def request_of(asked: Asked) -> dict[str, Any]:
    """Return the HTTP request of a command."""
    fields = fields_of(asked)
    user = f"/users/{fields.pop('user_id', '')}"
    headers = {"idempotency-key": asked.command_id, "prefer": f"wait={PATIENCE_SECONDS:.0f}"}
    if (version := fields.pop("expected_version", None)) is not None:
        headers["if-match"] = f'"{version}"'
    method, url = {
        "create": ("POST", "/users"),
        "update": ("PATCH", user),
        "change": ("PUT", f"{user}/email"),
        "delete": ("DELETE", user),
        "erase": ("POST", f"{user}/erasure"),
    }[asked.kind]
    return {"method": method, "url": url, "headers": headers, "json": fields or None}


def command_of(asked: Asked) -> UserCommand:
    """Return the command as a Python client sends it."""
    fields = fields_of(asked) | {"command_id": asked.command_id}
    return _MAKE[asked.kind](**fields)


def person_of(asked: Asked) -> dict[str, Any]:
    return {"email": asked.email, "name": asked.name, "age": asked.age}


def as_imported(asked: Asked) -> Asked:
    """Return a creation with the id that an import gives it."""
    own = content_id(asked.email or "", asked.name or "", asked.age or 0)
    return replace(asked, command_id=own)
