"""Each address is a register of its holder, and what clients were told of it is linearizable.

An address takes part in its own history only, which is what makes the search short: a command that
moves a user takes one address and leaves all others. Three facts of the registry's contract widen
the intervals: an address of another partition is left once a message has arrived; a change to an
address of another partition may reserve it even if the change is refused in the end; a refusal may
name whoever holds or reserved the address.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Literal

from tests.histories.history import FOREVER, Asked, History, once_each, sent, without_repeats
from tests.histories.linearizable import Operation, Undecided, is_linearizable

_LEAVES = {"change", "delete", "erase"}


def broken_addresses(history: History) -> Iterator[str]:
    """Yield the addresses that no order of the answers explains."""
    for key, operations, is_reserved in registers(history):
        try:
            if not is_linearizable(operations, is_reserved):
                yield f"address {key} had two holders, or one who had left: {_shown(operations)}"
        except Undecided:
            continue


def registers(
    history: History,
) -> Iterator[tuple[str, list[Operation], Callable[[Operation], bool]]]:
    """Yield each address, what happened to it, and whether it may only have been reserved then."""
    asked = list(sent(history))
    commands = once_each(asked) if history.remembers_ids else without_repeats(asked)
    by_key: dict[str, list[Asked]] = defaultdict(list)
    by_user: dict[str, list[Asked]] = defaultdict(list)
    for one in commands:
        if one.email is not None:
            by_key[one.email.lower()].append(one)
        if one.kind in _LEAVES and one.subject is not None:
            by_user[one.subject].append(one)
    for key, about in by_key.items():
        operations = list(_operations(history, key, about, by_user))
        yield key, operations, _Reservations(history, key, about)


def _operations(
    history: History, key: str, about: list[Asked], by_user: dict[str, list[Asked]]
) -> Iterator[Operation]:
    """Yield what happened to an address."""
    takers: set[str] = set()
    for one in about:
        answer, user_id = one.answer, one.subject
        if answer is None and user_id is None:
            continue  # a creation without an answer: nobody can know its user
        if answer is None or answer.accepted:
            takers.add(user_id or "")
            yield _operation("take", one, user_id or "", one.ended)
        elif answer.code == "user_already_exists" and answer.user_id is not None:
            yield Operation("seen", answer.user_id, one.began, one.ended)
    for user_id in takers:
        is_away = history.home_of_user(user_id) != history.home_of_address(key)
        for one in by_user[user_id]:
            stays = one.kind == "change" and (one.email or "").lower() == key
            if not stays and (one.answer is None or one.answer.accepted):
                ended = history.quiet_after(one.ended) if is_away else one.ended
                yield _operation("leave", one, user_id, ended)


def _operation(kind: Literal["take", "leave"], one: Asked, user_id: str, ended: float) -> Operation:
    answer = one.answer
    if answer is None:
        return Operation(kind, user_id, one.began, FOREVER, optional=True)
    return Operation(kind, user_id, one.began, ended, order=answer.version or 0)


class _Reservations:
    """Says who may have reserved an address, and when."""

    def __init__(self, history: History, key: str, about: list[Asked]) -> None:
        here = history.home_of_address(key)
        self._known = [
            (one.user_id, one.began, history.quiet_after(one.ended))
            for one in about
            if one.kind == "change" and one.user_id and history.home_of_user(one.user_id) != here
        ]
        # A creation without an answer has a user whom nobody knows.
        self._unknown = [one.began for one in about if one.kind == "create" and not one.answer]

    def __call__(self, seen: Operation) -> bool:
        return any(
            user_id == seen.user_id and began <= seen.ended and seen.began <= until
            for user_id, began, until in self._known
        ) or any(began <= seen.ended for began in self._unknown)


def _shown(operations: list[Operation]) -> str:
    by_time = sorted(operations, key=lambda one: one.began)
    return "; ".join(f"{o.kind} {o.user_id[-4:]} {o.began:g}-{o.ended:g}" for o in by_time)
