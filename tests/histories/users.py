"""The answers about one user form a sequential history, ordered by the user's versions.

For each user the versions are replayed: each must come from exactly one command that could make
this change, and whatever else was told of the version must fit the state that it left. A command
without an answer may explain one version. The order in time must agree: nobody is told an older
version after somebody was told a newer one, or a version before a command that made it was sent.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.histories.history import (
    FOREVER,
    Asked,
    History,
    Query,
    once_each,
    sent,
    without_repeats,
)

LiveState = tuple[str, str, int]  # e-mail, name, age
State = LiveState | Literal["never existed", "deleted", "erased"]
NEVER: Final = "never existed"


@dataclass(slots=True)
class _Story:
    """What is known of one user."""

    user_id: str
    accepted: dict[int, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    read: dict[int, list[Query]] = field(default_factory=lambda: defaultdict(list))
    conflicts: list[Asked] = field(default_factory=list)
    missed: list[Asked] = field(default_factory=list)
    open: list[Asked] = field(default_factory=list)

    def newest(self) -> int:
        """Return the newest version that anybody was told."""
        return max([*self.accepted, *self.read, *map(_version, self.conflicts)], default=0)

    def told_by(self) -> dict[int, float]:
        """Return by version when somebody had been told of it or of a newer one."""
        told = [(version, one) for version, all_told in self.accepted.items() for one in all_told]
        ends = [(version, one.ended) for version, one in told]
        ends += [(_version(one), one.ended) for one in self.conflicts]
        ends += [(version, one.ended) for version, reads in self.read.items() for one in reads]
        first = dict.fromkeys(range(1, self.newest() + 1), FOREVER)
        for version, ended in ends:
            for older in range(1, min(version, self.newest()) + 1):
                first[older] = min(first[older], ended)
        return first


def broken_users(history: History) -> Iterator[str]:
    """Yield what no correct registry can have answered about its users."""
    asked = list(sent(history))
    commands = once_each(asked) if history.remembers_ids else without_repeats(asked)
    creations = [one for one in commands if one.kind == "create" and one.answer is None]
    for story in _stories(commands, history.queries).values():
        changers = _Replay(story, creations).after(0, NEVER, ())
        if isinstance(changers, str):
            yield f"user {story.user_id}: {changers}"
        else:
            yield from _broken_order(story, changers)


def _stories(commands: Iterable[Asked], queries: Iterable[Query]) -> dict[str, _Story]:
    stories: dict[str, _Story] = {}
    for one in commands:
        if (subject := one.subject) is not None:
            _note(stories.setdefault(subject, _Story(subject)), one)
    for query in queries:
        if query.version is not None:
            story = stories.setdefault(query.user_id, _Story(query.user_id))
            story.read[query.version].append(query)
    return stories


def _note(story: _Story, one: Asked) -> None:
    answer = one.answer
    if answer is None:
        story.open.append(one)
    elif answer.accepted:
        story.accepted[answer.version or 0].append(one)
    elif answer.code == "version_conflict":
        story.conflicts.append(one)
    elif answer.code == "user_not_found":
        story.missed.append(one)


class _Replay:
    """Looks for the command that made each version of one user."""

    def __init__(self, story: _Story, creations: Sequence[Asked]) -> None:
        self._story = story
        self._creations = creations
        self._newest, self._told_by = story.newest(), story.told_by()

    def after(
        self, made: int, state: State, used: tuple[Asked, ...]
    ) -> list[tuple[Asked, State]] | str:
        """Return the commands that made the versions after `made`, each with the state after it.

        A text says that there are none. Of several that could have made a version, the one that
        was sent first counts: an erasure of an erased user is accepted and makes nothing.
        """
        version = made + 1
        if version > self._newest:
            return []
        wrong = f"no command can have made version {version} of {state}"
        for changer in self._possible(version, used):
            after = _after(state, changer)
            if after in (None, state) or changer.expected_version not in (None, made):
                continue
            problem = self._misfit(after, version, changer)
            if problem is None:
                rest = self.after(version, after, (*used, changer))
                if not isinstance(rest, str):
                    return [(changer, after), *rest]
                problem = rest
            wrong = problem
        return wrong

    def _possible(self, version: int, used: tuple[Asked, ...]) -> list[Asked]:
        without_answer = self._creations if version == 1 else self._story.open
        found = [*self._story.accepted.get(version, [])]
        found += [one for one in without_answer if one not in used]
        return sorted(found, key=lambda one: one.began)

    def _misfit(self, after: State, version: int, changer: Asked) -> str | None:
        """Return what was told of a version and does not fit the command that made it."""
        if changer.began > self._told_by[version]:
            return f"version {version} was told before it was asked for"
        others = [one for one in self._story.accepted.get(version, []) if one is not changer]
        return _misfit(after, version, others, self._story.read.get(version, []))


def _after(state: State, one: Asked) -> State | None:
    """Return the state after a command; None if it cannot be accepted in this state."""
    if one.kind == "create":
        return (one.email or "", one.name or "", one.age or 0) if state == NEVER else None
    if one.kind == "erase":
        return None if state == NEVER else "erased"
    if isinstance(state, str):
        return None
    email, name, age = state
    if one.kind == "update":
        return (
            email,
            name if one.name is None else one.name,
            age if one.age is None else one.age,
        )
    return (one.email or "", name, age) if one.kind == "change" else "deleted"


def _misfit(
    after: State, version: int, others: Sequence[Asked], reads: Sequence[Query]
) -> str | None:
    """Return what was told of a version and does not fit the state after it."""
    for one in others:
        if _after(after, one) != after:
            return f"{one.command_id} was accepted at version {version}, which it did not make"
        if one.expected_version not in (None, version):
            return f"{one.command_id} expected another version than {version}"
    for query in reads:
        if query.state != (None if isinstance(after, str) else after):
            return f"a query showed {query.state} as version {version} instead of {after}"
    return None


def _broken_order(story: _Story, changers: Sequence[tuple[Asked, State]]) -> Iterator[str]:
    """Yield what contradicts the order in time."""
    told = [
        (one.began, one.ended, version)
        for version, all_told in story.accepted.items()
        for one in all_told
        if not (one.answer and one.answer.repeated)
    ]
    told += [(one.began, one.ended, _version(one)) for one in story.conflicts]
    newest, ends = 0, sorted((ended, version) for _, ended, version in told)
    at = 0
    for began, _, version in sorted(told):
        while at < len(ends) and ends[at][0] < began:
            newest, at = max(newest, ends[at][1]), at + 1
        if version < newest:
            yield f"user {story.user_id}: version {version} was told after version {newest}"
    yield from _broken_rejections(story, changers)


def _broken_rejections(story: _Story, changers: Sequence[tuple[Asked, State]]) -> Iterator[str]:
    """Yield rejections that the user's life does not explain."""
    for one in story.conflicts:
        if one.expected_version in (None, _version(one)):
            yield f"user {story.user_id}: {one.command_id} conflicts with the version it expected"
    for one in story.missed:
        ends_of_life = [c for c, after in changers if isinstance(after, str)]
        ends_of_life += [c for c in story.open if c.kind in {"delete", "erase"}]
        if not any(end.began < one.ended for end in ends_of_life):
            yield f"user {story.user_id}: {one.command_id} did not find a live user"


def _version(one: Asked) -> int:
    return (one.answer.version or 0) if one.answer else 0
