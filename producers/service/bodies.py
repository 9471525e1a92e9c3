"""Makes commands of the JSON objects that callers send.

Every rule is that of `producers.client.build`. What is added here: no field may be unknown, and
none may be null, because a null could mean "leave it" to one reader and "remove it" to another.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from producers.client.build import (
    change_email_command,
    create_command,
    delete_command,
    erase_command,
    update_command,
)
from runtime.http import Caller, Scope, parse_object, refuse_unknown
from schemas.errors import Rejected
from schemas.records import (
    CHANGE_EMAIL,
    CREATE_USER,
    DELETE_USER,
    ERASE_USER,
    UPDATE_USER,
    UserCommand,
)

_FOR_A_USER: Final = ("user_id", "expected_version")


class _Kind(NamedTuple):
    """A kind of command: the fields that it takes besides its id, and the function for it."""

    fields: tuple[str, ...]
    build: Callable[..., UserCommand]


KINDS: Final[Mapping[str, _Kind]] = {
    CREATE_USER: _Kind(("email", "name", "age"), create_command),
    UPDATE_USER: _Kind(("name", "age", *_FOR_A_USER), update_command),
    CHANGE_EMAIL: _Kind(("email", *_FOR_A_USER), change_email_command),
    DELETE_USER: _Kind(_FOR_A_USER, delete_command),
    ERASE_USER: _Kind(_FOR_A_USER, erase_command),
}


def command_of(
    kind: str, body: dict[str, Any], caller: Caller, **known: str | int | None
) -> UserCommand:
    """Return the command of this kind from the fields in `body` and those `known` from elsewhere.

    Raises `Rejected`: `unknown_field`, or `invalid_command`; its `field` is the one that is wrong.
    """
    fields, build = KINDS[kind]
    refuse_unknown(body, [name for name in (*fields, "command_id") if name not in known])
    for name, value in body.items():
        if value is None:
            raise Rejected(f"the field {name} is null", code="invalid_command", field=name)
    given = {**body, **known}
    wanted = {name: given.get(name) for name in (*fields, "command_id")}
    return build(**wanted, issued_by=caller.name)


def command_of_line(line: bytes, caller: Caller) -> UserCommand:
    """Return the command in a line of many: an object with a `kind` and the fields of that kind.

    Raises `Rejected`, also if the caller may not do this.
    """
    body = parse_object(line)
    kind = body.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise Rejected(
            "the kind of command is missing or unknown",
            code="invalid_command",
            next_step=f"the kinds are {', '.join(KINDS)}",
            field="kind",
        )
    if kind == ERASE_USER and Scope.ERASE not in caller.scopes:
        raise Rejected("the key does not have the scope erase", code="scope_missing")
    return command_of(kind, body, caller)
