"""Looks for an order of overlapping operations in which each is possible (Wing and Gong, 1993).

Porcupine and Knossos do the same for any model. Here the state is the holder of one address, and
histories are short, because addresses are independent of each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

# A history that needs more is reported as undecided and not as wrong.
MOST_STATES: Final = 20_000

Holder = str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """Takes effect at one moment from `began` to `ended`; if `optional`, perhaps never.

    Operations of one user with an `order` happen in that order.
    """

    kind: Literal["take", "leave", "seen"]
    user_id: str
    began: float
    ended: float
    order: int = 0
    optional: bool = False


class Undecided(Exception):
    """The search was given up."""


def is_linearizable(
    operations: Sequence[Operation], is_reserved: Callable[[Operation], bool]
) -> bool:
    """Return whether some order explains every operation. Raises `Undecided`.

    `is_reserved` says whether the user that an operation saw may only have reserved the address.
    """
    operations = sorted(operations, key=lambda one: one.began)
    everything = sum(1 << n for n, one in enumerate(operations) if not one.optional)
    waiting: list[tuple[int, Holder]] = [(0, None)]
    known = set(waiting)
    while waiting:
        done, holder = waiting.pop()
        if done & everything == everything:
            return True
        for number in _next(operations, done):
            after = _apply(operations[number], holder, is_reserved)
            if after == "impossible":
                continue
            state = (done | 1 << number, after)
            if state not in known:
                known.add(state)
                waiting.append(state)
        if len(known) > MOST_STATES:
            raise Undecided
    return False


def _next(operations: Sequence[Operation], done: int) -> list[int]:
    """Return which operations can be next: none that began after another must have ended."""
    left = [n for n in range(len(operations)) if not done >> n & 1]
    until = min(operations[n].ended for n in left if not operations[n].optional)
    order: dict[str, int] = {}
    for n in left:
        one = operations[n]
        if one.order and not one.optional:
            order[one.user_id] = min(one.order, order.get(one.user_id, one.order))
    return [
        n
        for n in left
        if operations[n].began <= until
        and (
            not operations[n].order
            or operations[n].order <= order.get(operations[n].user_id, operations[n].order)
        )
    ]


def _apply(
    one: Operation, holder: Holder, is_reserved: Callable[[Operation], bool]
) -> Holder | Literal["impossible"]:
    """Return the holder after an operation."""
    if one.kind == "take":
        return one.user_id if holder in (None, one.user_id) else "impossible"
    if one.kind == "leave":
        return None if holder == one.user_id else holder
    return holder if holder == one.user_id or is_reserved(one) else "impossible"
