"""What clients ask for, and the history of what they were told: few users and few addresses."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any, Final

from tests.histories.history import Answer, Asked, History, Kind, Query

_KINDS: Final[dict[Kind, int]] = {"create": 8, "update": 12, "change": 9, "delete": 3, "erase": 2}
_ADDRESSES_A_PARTITION: Final = 3
_RECENT_USERS: Final = 10
_RECENT_GONE: Final = 3
_RECENT_COMMANDS: Final = 30
# Of a hundred commands, so many have the id of an earlier one: with the same body, with another.
_SAME, _OTHER = 5, 3
# And so many of those for a user are for one that is deleted or erased.
_FOR_GONE = 8


@dataclass
class Workload:
    """Makes commands for all clients of a run and keeps the history. Thread-safe."""

    partitions: int
    history: History = field(init=False)
    users: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    pool: list[str] = field(default_factory=list)
    _open: dict[tuple[str, float], Asked] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)
    _tokens: dict[int, int] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _generations: Iterator[int] = field(default_factory=count)
    _taken: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.history = History(self.partitions)
        self.renew()

    def renew(self) -> None:
        """Go on with other addresses and users, so that the history of each stays short."""
        with self._lock:
            generation, numbers = next(self._generations), count()
            found: dict[int, list[str]] = {number: [] for number in range(self.partitions)}
            while any(len(here) < _ADDRESSES_A_PARTITION for here in found.values()):
                email = f"g{generation}n{next(numbers)}@example.com"
                here = found[self.history.home_of_address(email)]
                if len(here) < _ADDRESSES_A_PARTITION:
                    here.append(email)
            emails = [email for here in found.values() for email in here]
            # Addresses that differ in case only are the same address.
            self.pool = [*emails, *(email.capitalize() for email in emails)]
            self.users, self.gone, self._taken = [], [], 0

    def next(self, client: str, chance: Random, *, kinds: tuple[Kind, ...] = ()) -> Asked:
        """Return another command, or an earlier one again; `tell` what became of it."""
        with self._lock:
            asked = self._next(client, chance, kinds)
            self._open[client, asked.began] = asked
            return asked

    def _next(self, client: str, chance: Random, kinds: tuple[Kind, ...]) -> Asked:
        how = chance.randrange(100)
        if how < _SAME + _OTHER and not kinds and self.history.asked:
            earlier = chance.choice(self.history.asked[-_RECENT_COMMANDS:])
            if not earlier.command_id.startswith("import-"):
                return self._again(client, chance, earlier, same_body=how < _SAME)
        number = next(self._numbers)
        kind = chance.choices([*_KINDS], [*_KINDS.values()])[0]
        if kinds or not self.users:
            kind = "create"
        user_id = None if kind == "create" else self._user(chance)
        known = self._versions.get(user_id or "", 1)
        return Asked(
            client=client,
            command_id=f"c{number:05}",
            kind=kind,
            began=time.monotonic(),
            ended=0,
            user_id=user_id,
            email=chance.choice(self.pool) if kind in {"create", "change"} else None,
            name=f"n{number}" if kind in {"create", "update"} else None,
            age=20 + number % 3 if kind in {"create", "update"} else None,
            expected_version=None
            if kind == "create"
            else chance.choice((None, None, None, known, known, known, known + 1)),
        )

    def _user(self, chance: Random) -> str:
        """Return a user whom commands are about: mostly a live one."""
        is_gone = self.gone and chance.randrange(100) < _FOR_GONE
        return chance.choice((self.gone if is_gone else self.users)[-_RECENT_USERS:])

    def _again(self, client: str, chance: Random, earlier: Asked, *, same_body: bool) -> Asked:
        """Return an earlier command with the same id and target."""
        fresh = replace(
            earlier, client=client, began=time.monotonic(), ended=0, answer=None, was_sent=True
        )
        if same_body:
            return fresh
        if earlier.kind in {"create", "update"}:
            return replace(fresh, name=f"n{next(self._numbers)}")
        return replace(fresh, kind="change", email=chance.choice(self.pool))

    def tell(self, asked: Asked, outcome: dict[str, Any] | None, *, was_sent: bool = True) -> None:
        """Note the end of a command: its answer, or None if the client does not know."""
        answer = None if outcome is None else answer_of(outcome)
        ended = time.monotonic()
        with self._lock:
            self._open.pop((asked.client, asked.began), None)
            self.history.asked.append(replace(asked, ended=ended, answer=answer, was_sent=was_sent))
            if answer is not None and answer.code == "user_not_found":
                self._is_gone(asked.user_id)
            if answer is not None and answer.code == "user_already_exists" and not self.users:
                self._taken += 1
                if self._taken > len(self.pool):
                    # Users whose creation nobody was told of hold all addresses.
                    self.renew()
            if answer is not None and answer.accepted and answer.user_id is not None:
                is_known = answer.user_id in (*self.users, *self.gone)
                if asked.kind == "create" and asked.email in self.pool and not is_known:
                    self.users.append(answer.user_id)
                if asked.kind in {"delete", "erase"}:
                    self._is_gone(answer.user_id)
                self._versions[answer.user_id] = answer.version or 0
                known = self._tokens.get(answer.partition, 0)
                self._tokens[answer.partition] = max(known, answer.seq)

    def give_up(self) -> None:
        """Note commands whose client has failed before it could tell; it will not come back."""
        with self._lock:
            for asked in list(self._open.values()):
                self.tell(asked, None)

    def _is_gone(self, user_id: str | None) -> None:
        if user_id is not None and user_id in self.users:
            self.users.remove(user_id)
            self.gone.append(user_id)

    def question(self, chance: Random) -> tuple[str, dict[int, int]] | None:
        """Return a user to query and what to wait for: all answers so far, those at home, none."""
        with self._lock:
            known = [*self.users[-_RECENT_USERS:], *self.gone[-_RECENT_GONE:]]
            if not known:
                return None
            user_id = chance.choice(known)
            how = chance.choice(("all", "home", "none"))
            home = self.history.home_of_user(user_id)
            wanted = {
                p: seq
                for p, seq in self._tokens.items()
                if seq and (how == "all" or (how == "home" and p == home))
            }
            return user_id, wanted

    def show(self, query: Query) -> None:
        """Note what a query showed."""
        with self._lock:
            self.history.queries.append(query)


def answer_of(outcome: dict[str, Any]) -> Answer:
    """Return an outcome as every client prints it."""
    partition, _, seq = (outcome.get("token") or "0:0").partition(":")
    return Answer(
        accepted=outcome["status"] == "accepted",
        user_id=outcome.get("user_id"),
        version=outcome.get("version"),
        code=outcome.get("code"),
        repeated=bool(outcome.get("repeated")),
        partition=int(partition),
        seq=int(seq),
    )
