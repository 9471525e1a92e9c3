"""What a check finds, how much it matters, and what a check is."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, Generic, TypeVar

from runtime.settings import Settings

F = TypeVar("F")


class Level(StrEnum):
    """How much a finding matters, worst first.

    A problem loses data, stops something, or will soon. A warning is worth a look. `not checked`
    says that a check could not find out.
    """

    PROBLEM = "problem"
    WARNING = "warning"
    NOT_CHECKED = "not checked"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check: a sentence and what to do; neither contains personal data.

    `unreachable`: the server does not answer, so the rest of the group was not checked.
    """

    level: Level
    message: str
    remedy: str = ""
    unreachable: bool = False


def ok(message: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(Level.OK, message)


def warning(message: str, remedy: str) -> Finding:
    """Return a finding that is worth a look."""
    return Finding(Level.WARNING, message, remedy)


def problem(message: str, remedy: str) -> Finding:
    """Return a finding that must be dealt with."""
    return Finding(Level.PROBLEM, message, remedy)


def not_checked(message: str, remedy: str = "") -> Finding:
    """Return the finding that a check could not find out."""
    return Finding(Level.NOT_CHECKED, message, remedy)


class NotCheckable(Exception):
    """A check cannot find out: its message says why."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def optional_package(name: str) -> Any:
    """Return a package of the extra `doctor`. Raises `NotCheckable` without it."""
    try:
        return import_module(name)
    except ImportError:
        raise NotCheckable(
            "this needs the extra `doctor` of rollbook",
            "in a clone of rollbook, `make setup` or `pipx install '.[doctor]'`",
        ) from None


@dataclass(frozen=True, slots=True)
class Examination:
    """What one run examines: an installation and the roles that its login must suffice for."""

    settings: Settings
    roles: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Check(Generic[F]):
    """One check: its stable name, what it finds, and the function from facts to findings.

    The function may raise `NotCheckable` and any `RollbookError`. No finding means that all is
    well, as does one that says so.
    """

    name: str
    finds: str
    run: Callable[[F], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Group:
    """The checks that use the same facts; `open` connects to nothing yet."""

    name: str
    open: Callable[[Examination], Any]
    checks: tuple[Check[Any], ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A finding and the check that made it."""

    group: str
    check: str
    finding: Finding
