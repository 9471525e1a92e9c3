"""The dry run of an import: checks every line as the import does, without any server.

It cannot know who is registered already. It compares the addresses within the file, each line with
the lines before it. To bound memory it remembers only the first `MOST_REMEMBERED` different
addresses (about 130 MB); the totals say how many lines came after that.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from producers.importer.encode import clean_line
from producers.importer.user_line import BadLine, UserLine
from schemas.errors import Rejected
from schemas.identity import email_key

MOST_REMEMBERED = 1_000_000
MOST_SHOWN = 20

_LINES_A_STEP = 2_000
_CONTENT_BITS = 32


@dataclass(slots=True)
class CheckTotals:
    """What an import into an empty registry would do with the lines. Blank lines do not count.

    `importable` lines create a user. The other valid lines have an address of an earlier line:
    `repeated_lines` equal that line, `conflicting_lines` differ from it, and the import would keep
    the earlier one. `conflicts` lists a few as (line, earlier line). Later lines were not compared
    with `not_remembered` of the importable lines.
    """

    lines: int = 0
    importable: int = 0
    repeated_lines: int = 0
    conflicting_lines: int = 0
    rejected: int = 0
    not_remembered: int = 0
    conflicts: list[tuple[int, int]] = field(default_factory=list)

    @property
    def decided(self) -> int:
        """How many lines were checked."""
        return self.lines

    def __str__(self) -> str:
        return f"{self.lines:,} lines checked"

    def as_fields(self) -> dict[str, Any]:
        """Return the totals as commands print them."""
        conflicts = [{"line": line, "first_line": first} for line, first in self.conflicts]
        return {"dry_run": True} | asdict(self) | {"conflicts": conflicts}


class UserCheck:
    """One dry run, with the interface of `UserImport`."""

    def __init__(
        self,
        on_reject: Callable[[int, str, str], None],
        *,
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        self.totals = CheckTotals()
        self._on_reject = on_reject
        self._most_remembered = most_remembered
        # Hash of an address → number of its first line and a hash of that line's content. Numbers
        # take less memory than texts, and no address is kept. Python salts its hashes per process;
        # two addresses of a million collide once in millions of runs.
        self._first: dict[int, int] = {}

    def close(self) -> None:
        """Release the memory."""
        self._first.clear()

    def run(
        self,
        lines: Iterable[UserLine | BadLine | None],
        on_progress: Callable[[], None] | None = None,
    ) -> bool:
        """Check `lines`; return True, because nothing is left to wait for."""
        for line in lines:
            if line is None:  # the next line has not arrived yet
                continue
            self.totals.lines += 1
            self._check(line)
            if on_progress and self.totals.lines % _LINES_A_STEP == 0:
                on_progress()
        return True

    def _check(self, line: UserLine | BadLine) -> None:
        if isinstance(line, BadLine):
            self._reject(line.number, line.code, line.message)
            return
        try:
            content = clean_line(line)
        except Rejected as error:
            self._reject(line.number, error.code, str(error))
            return
        self._compare(line.number, content)

    def _compare(self, number: int, content: tuple[str, str, int]) -> None:
        totals, address = self.totals, hash(email_key(content[0]))
        what = hash(content) & ((1 << _CONTENT_BITS) - 1)
        first = self._first.get(address)
        if first is None:
            totals.importable += 1
            if len(self._first) < self._most_remembered:
                self._first[address] = number << _CONTENT_BITS | what
            else:
                totals.not_remembered += 1
        elif first & ((1 << _CONTENT_BITS) - 1) == what:
            totals.repeated_lines += 1
        else:
            totals.conflicting_lines += 1
            if len(totals.conflicts) < MOST_SHOWN:
                totals.conflicts.append((number, first >> _CONTENT_BITS))

    def _reject(self, number: int, code: str, message: str) -> None:
        self.totals.rejected += 1
        self._on_reject(number, code, message)
