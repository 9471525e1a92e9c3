"""Compares what clients were told with the log: nothing lost, nothing decided twice."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from schemas.records import ACCEPTED, CommandOutcome, UserCommand, UserEvent

# What senders of one user each may run into: an address that another user holds.
PERMITTED_CODES = {None, "user_already_exists"}
_COMPARED = ("status", "user_id", "version", "code")


@dataclass(frozen=True, slots=True)
class Told:
    """A command and the answer that its sender got, as `tests/upgrade/load.py` prints them."""

    command: UserCommand
    answer: dict[str, Any]

    @property
    def command_id(self) -> str:
        """The command's id; one that was sent again has several answers."""
        return self.command["command_id"]

    @property
    def is_accepted(self) -> bool:
        """Whether it was accepted."""
        return bool(self.answer["status"] == ACCEPTED)


def read_told(text: str) -> list[Told]:
    """Return the commands and answers in the output of a client, in the order of the answers."""
    lines = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return [Told(line["command"], line["answer"]) for line in lines]


def first_answers(told: Iterable[Told]) -> dict[str, Told]:
    """Return by command id what its sender was told first."""
    first: dict[str, Told] = {}
    for one in told:
        first.setdefault(one.command_id, one)
    return first


def wrong_answers(told: Iterable[Told], outcomes: Iterable[CommandOutcome]) -> list[str]:
    """Return how the answers differ from the outcomes on the log; of each id one may be decided."""
    decided: dict[str, list[CommandOutcome]] = defaultdict(list)
    for outcome in outcomes:
        if not outcome["repeated"]:
            decided[outcome["command_id"]].append(outcome)
    first = first_answers(told)
    wrong = [f"{one}: decided without being sent" for one in decided.keys() - first.keys()]
    for one in told:
        name = f"{one.command['kind']} {one.command_id}"
        found = decided[one.command_id]
        if len(found) != 1:
            wrong.append(f"{name}: decided {len(found)} times")
        elif any(one.answer[field] != found[0][field] for field in _COMPARED):  # type: ignore[literal-required]
            wrong.append(f"{name}: not what its sender was told")
        if one.answer["code"] not in PERMITTED_CODES:
            wrong.append(f"{name}: {one.answer['code']}")
    return wrong


def wrong_events(told: Iterable[Told], history: Iterable[UserEvent]) -> list[str]:
    """Return how the events differ from those that the accepted commands must have."""
    events = list(history)
    causes = Counter(event["command_id"] for event in events)
    accepted = {key: one for key, one in first_answers(told).items() if one.is_accepted}
    wrong = [f"{key}: {causes[key]} events" for key in accepted if causes[key] != 1]
    wrong += [f"{key}: an event that was not accepted" for key in causes.keys() - accepted.keys()]
    states: dict[str, dict[str, Any]] = {}
    versions: Counter[str] = Counter()
    for event in sorted(events, key=lambda event: (event["user_id"], event["version"])):
        user_id, one = event["user_id"], accepted.get(event["command_id"])
        if one is None:
            continue
        versions[user_id] += 1
        states[user_id] = _after(states.get(user_id, {}), one.command)
        if not one.answer["version"] == event["version"] == versions[user_id]:
            wrong.append(f"{one.command_id}: event of version {event['version']}")
        user: dict[str, Any] = {**event["user"]} if event["user"] else {}
        if {field: user.get(field) for field in states[user_id]} != states[user_id]:
            wrong.append(f"{one.command_id}: its event has another state")
        # Null before the log is finalised, and in erasures.
        if event["issued_by"] not in {None, one.command.get("issued_by")}:
            wrong.append(f"{one.command_id}: issued by someone else")
    return wrong


def _after(state: dict[str, Any], command: UserCommand) -> dict[str, Any]:
    """Return the user's fields after an accepted command, all None once the user is gone."""
    fields = ("email", "name", "age")
    if command["kind"] in {"DeleteUser", "EraseUser"}:
        return dict.fromkeys(fields)
    known = {**state, **{field: given for field, given in command.items() if given is not None}}
    return {field: known.get(field) for field in fields}
