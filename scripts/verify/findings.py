"""What a check found: how much it looked at, how much was wrong, and where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 10


@dataclass(slots=True)
class Check:
    """One promise and how it fared.

    Examples are coordinates and ids, at most `EXAMPLES`, never personal data. A `listing` says
    what there is without calling it wrong.
    """

    promise: str
    listing: bool = False
    looked_at: int = 0
    found: int = 0
    examples: list[str] = field(default_factory=list)

    def report(self, example: str) -> None:
        """Record something found, with its coordinates."""
        self.found += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return self.listing or not self.found

    def line(self) -> str:
        """Return the line for people."""
        mark = "·" if self.listing else "✓" if self.holds else "✗"
        wrong = f", {self.found} {'found' if self.listing else 'wrong'}" if self.found else ""
        return f"{mark} {self.promise}  ({self.looked_at} checked{wrong})"

    def as_json(self) -> Mapping[str, Any]:
        """Return the object for programs."""
        return {
            "check": self.promise,
            "holds": self.holds,
            "looked_at": self.looked_at,
            "found": self.found,
            "examples": self.examples,
        }
