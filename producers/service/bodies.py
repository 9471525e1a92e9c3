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
    """A kind of command: the fields that it takes, each as None, and the function for it."""

    fields: Mapping[str, None]
    build: Callable[..., UserCommand]


def _kind(build: Callable[..., UserCommand], *fields: str) -> _Kind:
    return _Kind(dict.fromkeys((*fields, "command_id")), build)


KINDS: Final[Mapping[str, _Kind]] = {
    CREATE_USER: _kind(create_command, "email", "name", "age"),
    UPDATE_USER: _kind(update_command, "name", "age", *_FOR_A_USER),
    CHANGE_EMAIL: _kind(change_email_command, "email", *_FOR_A_USER),
    DELETE_USER: _kind(delete_command, *_FOR_A_USER),
    ERASE_USER: _kind(erase_command, *_FOR_A_USER),
}


def command_of(
    kind: str, body: dict[str, Any], caller: Caller, **known: str | int | None
) -> UserCommand:
    """Return the command of this kind from the fields in `body` and those `known` from elsewhere.

    Raises `Rejected`: `unknown_field`, or `invalid_command`; its `field` is the one that is wrong.
    """
    fields, build = KINDS[kind]
    given = {**fields, **body, **known}
    if len(given) != len(fields) or not known.keys().isdisjoint(body):
        refuse_unknown(body, [name for name in fields if name not in known])
    if None in body.values():
        name = next(name for name, value in body.items() if value is None)
        raise Rejected(f"the field {name} is null", code="invalid_command", field=name)
    return build(**given, issued_by=caller.name)


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
