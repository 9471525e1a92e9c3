"""The record of a run from the clients' side: what they asked, when, and what they were told."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal
from zlib import crc32

# Times are any numbers that grow: the order in which things happened to the recorder.
FOREVER = float("inf")

Kind = Literal["create", "update", "change", "delete", "erase"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a command. `repeated`: it is about an earlier sending of the same command."""

    accepted: bool
    user_id: str | None = None
    version: int | None = None
    code: str | None = None
    repeated: bool = False
    partition: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """One command as one client sent it, from invocation to answer.

    `answer` is None if the client does not know: then `ended` is when it gave up. `was_sent` is
    False if it was told that nothing was sent.
    """

    client: str
    command_id: str
    kind: Kind
    began: float
    ended: float
    answer: Answer | None = None
    was_sent: bool = True
    user_id: str | None = None
    email: str | None = None
    name: str | None = None
    age: int | None = None
    expected_version: int | None = None

    @property
    def body(self) -> tuple[object, ...]:
        """What was asked, without who asked and when."""
        fields = (self.email, self.name, self.age, self.expected_version)
        return (self.command_id, self.kind, self.user_id, *fields)

    @property
    def subject(self) -> str | None:
        """The user it is about, as far as that is known."""
        if self.user_id is not None:
            return self.user_id
        return self.answer.user_id if self.answer and self.answer.accepted else None


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one user that was answered, with the tokens that it waited for.

    `version` is None if the user was not shown, and `state` (e-mail, name, age) if it is gone.
    `tokens` maps partition → seq. `model` is the read model that was asked.
    """

    client: str
    user_id: str
    began: float
    ended: float
    tokens: dict[int, int]
    version: int | None
    state: tuple[str, str, int] | None = None
    model: str = ""


@dataclass(slots=True)
class History:
    """Everything that clients saw in a run.

    `quiet` are times at which nothing was in transit: whatever was sent before was decided, and all
    that followed from it. `found` has by command id every answer that exists at the end, None if
    nobody looked.
    `lost` has the ids of commands that got no answer, because retention deleted what carried them:
    they may have reserved an address. `remembers_ids`: a command that is sent again gets its first
    answer. `forgets_reads`: the store of the read model lost its latest transactions during the
    run, as it may.
    """

    partitions: int
    asked: list[Asked] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    found: dict[str, list[Answer]] | None = None
    lost: set[str] = field(default_factory=set)
    remembers_ids: bool = True
    forgets_reads: bool = False

    def quiet_after(self, time: float) -> float:
        """Return the first quiet time after `time`."""
        return min((one for one in self.quiet if one > time), default=FOREVER)

    def home_of_user(self, user_id: str) -> int:
        """Return the partition that decides a user."""
        return int(user_id.replace("-", "")[13:16], 16) * self.partitions // 4096

    def home_of_address(self, email: str) -> int:
        """Return the partition that decides who may take an address."""
        return crc32(email.lower().encode()) % 4096 * self.partitions // 4096


def sent(history: History) -> Iterator[Asked]:
    """Yield what may have reached the registry."""
    return (one for one in history.asked if one.was_sent)


def once_each(asked: Iterable[Asked]) -> list[Asked]:
    """Return one entry for each command, however often it was sent.

    It began with the first sending and has the first answer that was not a repeat, if there is one.
    """
    merged: dict[tuple[object, ...], Asked] = {}
    for one in asked:
        known = merged.get(one.body)
        if known is None:
            merged[one.body] = one
            continue
        answer, ended = _better(known, one)
        began = min(known.began, one.began)
        merged[one.body] = replace(known, began=began, ended=ended, answer=answer)
    return list(merged.values())


def without_repeats(asked: Iterable[Asked]) -> list[Asked]:
    """Return each sending as a command of its own, for a registry that forgets command ids.

    A repeated answer says that an earlier sending took effect, but not when; so that sending's
    answer counts as unknown.
    """
    return [
        replace(one, answer=None) if one.answer is not None and one.answer.repeated else one
        for one in asked
    ]


def _better(known: Asked, other: Asked) -> tuple[Answer | None, float]:
    """Return the answer that says more; of two equal ones the earlier."""
    ranked = sorted((known, other), key=lambda one: (_rank(one.answer), one.ended))
    return ranked[0].answer, ranked[0].ended


def _rank(answer: Answer | None) -> int:
    if answer is None:
        return 3
    if answer.code == "command_id_reused":
        return 2
    return 1 if answer.repeated else 0
