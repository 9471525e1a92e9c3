"""Consistency tokens: the place on the log that an answer stands for, as text that people pass on.

The answer to a command has one; a query that is given it waits until its read model has come there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from schemas.errors import Rejected

_PLACE = r"(?:0|[1-9][0-9]{0,3}):[1-9][0-9]{0,17}"
_TOKEN = re.compile(rf"{_PLACE}(?:,{_PLACE})*")


@dataclass(frozen=True, slots=True)
class Token:
    """The seq to have come to, of each partition that counts.

    Its text is `partition:seq`; several are joined by commas, lowest partition first.
    """

    seqs: Mapping[int, int]

    def __str__(self) -> str:
        return ",".join(f"{partition}:{seq}" for partition, seq in sorted(self.seqs.items()))

    def within(self, partitions: int) -> Self:
        """Return the token if a log of so many partitions can have it.

        Raises `Rejected` with code `invalid_token`.
        """
        greatest = max(self.seqs)
        if greatest >= partitions:
            raise _invalid(
                f"the token names partition {greatest}, those of this registry are 0 to "
                f"{partitions - 1}"
            )
        return self


def parse_token(text: str) -> Token:
    """Return the token that `text` is; tokens joined by commas are the token of all of them.

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
