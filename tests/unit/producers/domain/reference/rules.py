"""The rules of one user as a table of cases, for the reference of the stateful test.

Nothing here imports the code under test: it is a second implementation of the design.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

from schemas.records import UserCommand

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EMAIL = re.compile(r"[A-Za-z0-9]+@[a-z]+\.[a-z]+")
ENDS = {"DeleteUser": "UserDeleted", "EraseUser": "UserErased"}


class Wrong(AssertionError):
    """The code under test did something that the reference does not permit."""


def require(what: object, why: str, *seen: object) -> None:
    """Raise `Wrong` unless `what` is true."""
    if not what:
        raise Wrong(f"{why}: {seen}")


def home_of_address(key: str, partitions: int) -> int:
    """Return the partition that an address belongs to."""
    return crc32(key.encode()) % 4096 * partitions // 4096


def home_of_user(user_id: str, partitions: int) -> int:
    """Return the partition where a user lives, read from its id."""
    return int(user_id[15:18], 16) * partitions // 4096


@dataclass
class Person:
    """A user; `email` is None once it is gone."""

    user_id: str
    version: int
    email: str | None
    name: str
    age: int
    created: tuple[int, str]
    erased: bool = False


class Verdict(NamedTuple):
    """One permitted answer: rejected with `code`, an event of `type`, or no change."""

    code: str | None = None
    type: str | None = None
    holders: frozenset[str] = frozenset()


def is_valid(command: UserCommand) -> bool:
    """Return whether the fields that matter for its kind obey the rules."""
    kind, name, age = command["kind"], command.get("name"), command.get("age")
    expected, email = command.get("expected_version"), command.get("email") or ""
    matter = {
        "CreateUser": ("name", "age", "email"),
        "UpdateUser": ("user",) + ("name",) * (name is not None) + ("age",) * (age is not None),
        "ChangeEmail": ("user", "email"),
        "DeleteUser": ("user",),
        "EraseUser": ("user",),
    }.get(kind, ())
    right = {
        "name": name is not None and 1 <= len(name.strip()) <= 200,
        "age": age is not None and 0 <= age <= 150,
        "email": bool(_EMAIL.fullmatch(email)),
        "user": bool(_UUID.fullmatch(command.get("user_id") or ""))
        and (expected is None or expected > 0),
    }
    return len(matter) > (kind == "UpdateUser") and all(right[name] for name in matter)


def first_answer(person: Person | None, command: UserCommand) -> list[Verdict]:
    """Return the answer to a command about a user as far as no address is involved."""
    kind, expected = command["kind"], command.get("expected_version")
    if person is None or (person.email is None and kind != "EraseUser"):
        return [Verdict(code="user_not_found")]
    if expected is not None and expected != person.version:
        return [Verdict(code="version_conflict")]
    if kind == "EraseUser" and person.erased:
        return [Verdict()]
    if kind in ENDS:
        return [Verdict(type=ENDS[kind])]
    if fields(person) == {**fields(person), **wanted(command)}:
        return [Verdict()]
    return [Verdict(type="UserUpdated")] if kind == "UpdateUser" else []


def fields(person: Person | None) -> dict[str, Any]:
    if person is None or person.email is None:
        return {}
    return {"email": person.email, "name": person.name, "age": person.age}


def wanted(command: UserCommand) -> dict[str, Any]:
    named = {
        "CreateUser": ("email", "name", "age"),
        "UpdateUser": ("name", "age"),
        "ChangeEmail": ("email",),
    }.get(command["kind"], ())
    values = {name: command.get(name) for name in named}
    return {
        name: value.strip() if isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }


def state(user: Any) -> dict[str, Any]:
    return {name: user[name] for name in ("email", "name", "age")} if user else {}


def changes(kind: str, before: dict[str, Any], after: dict[str, Any]) -> list[tuple[Any, ...]]:
    if kind in {"UserCreated", "UserErased"}:
        return []
    return [
        (name, before[name], after.get(name))
        for name in ("email", "name", "age")
        if before[name] != after.get(name)
    ]
