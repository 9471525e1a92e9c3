"""Consistency tokens: the position on the log after which a write is visible, as text.

The answer to a command has one; a query that is given the token waits until its read model has
caught up to it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from schemas.errors import Rejected

# How long a query waits for its token unless it is told otherwise.
WAIT_SECONDS = 10.0

_PLACE = r"(?:0|[1-9][0-9]{0,3}):[1-9][0-9]{0,17}"
_TOKEN = re.compile(rf"{_PLACE}(?:,{_PLACE})*")


@dataclass(frozen=True, slots=True)
class Token:
    """For each partition that matters, the seq that a read model must have applied.

    Its text is `partition:seq`; several are joined by commas, lowest partition first.
    """

    seqs: Mapping[int, int]

    def __str__(self) -> str:
        return ",".join(f"{partition}:{seq}" for partition, seq in sorted(self.seqs.items()))

    def within(self, partitions: int) -> Self:
        """Return the token if it is possible on a log with this many partitions.

        Raises `Rejected` with code `invalid_token`.
        """
        greatest = max(self.seqs)
        if greatest >= partitions:
            raise _invalid(
                f"the token names partition {greatest}; this registry has partitions 0 to "
                f"{partitions - 1}"
            )
        return self


def parse_token(text: str) -> Token:
    """Return the token in `text`; tokens joined by commas make one token for all of them.

    Raises `Rejected` with code `invalid_token`.
    """
    stripped = text.strip()
    if not _TOKEN.fullmatch(stripped):
        raise _invalid("a token is partition:seq, such as 3:17, or several joined by commas")
    seqs: dict[int, int] = {}
    for place in stripped.split(","):
        partition, seq = map(int, place.split(":"))
        seqs[partition] = max(seq, seqs.get(partition, 0))
    return Token(seqs)


def _invalid(message: str) -> Rejected:
    return Rejected(
        message, code="invalid_token", next_step="take it from a command's answer (`token`)"
    )
