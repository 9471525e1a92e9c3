"""What became of each sending: nothing, if a client was told so; otherwise one thing."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from tests.histories.history import Answer, Asked, History

_Content = tuple[bool, str | None, int | None, str | None]


def broken_sendings(history: History) -> Iterator[str]:
    """Yield commands that were decided although nothing was sent, or in two ways."""
    seen_names = {query.state[1] for query in history.queries if query.state}
    bodies: dict[str, set[tuple[object, ...]]] = defaultdict(set)
    for one in history.asked:
        bodies[one.command_id].add(one.body)
    were_sent = {one.command_id for one in history.asked if one.was_sent}
    for one in history.asked:
        if one.was_sent or one.command_id in were_sent:
            continue
        if (history.found or {}).get(one.command_id):
            yield f"{one.command_id} was decided, and its client was told that nothing was sent"
        if one.name is not None and one.name in seen_names:
            yield f"{one.command_id} took effect, and its client was told that nothing was sent"
    if history.remembers_ids:
        yield from _decided_in_two_ways(history, bodies)


def _decided_in_two_ways(
    history: History, bodies: dict[str, set[tuple[object, ...]]]
) -> Iterator[str]:
    told: dict[tuple[object, ...], set[_Content]] = defaultdict(set)
    for one in history.asked:
        if one.answer is not None:
            told[one.body].add(_content(one.answer))
            if len(bodies[one.command_id]) == 1:
                told[one.body] |= {
                    _content(a) for a in (history.found or {}).get(one.command_id, ())
                }
    for body, answers in told.items():
        if len(answers) > 1:
            yield f"{body[0]} was answered in {len(answers)} ways: {sorted(map(str, answers))}"


def _content(answer: Answer) -> _Content:
    return answer.accepted, answer.user_id, answer.version, answer.code


def resolved(history: History) -> History:
    """Return the history as somebody knows it who looked up every unanswered command at the end.

    A command that was decided after its client gave up took effect before the next quiet time after
    its last sending: an earlier one may never have arrived. What has an id that was used for
    several commands stays unknown; where ids are forgotten, each sending counts as another command.
    """
    uses: dict[str, set[object]] = defaultdict(set)
    ended: dict[str, float] = {}
    for one in history.asked:
        uses[one.command_id].add(one.body if history.remembers_ids else one)
        ended[one.command_id] = max(one.ended, ended.get(one.command_id, 0))
    asked = [
        _resolved(history, one, ended[one.command_id]) if len(uses[one.command_id]) == 1 else one
        for one in history.asked
    ]
    return replace(history, asked=asked)


def _resolved(history: History, one: Asked, ended: float) -> Asked:
    if one.answer is not None or not one.was_sent or one.command_id in history.lost:
        return one
    found = [
        answer for answer in (history.found or {}).get(one.command_id, ()) if not answer.repeated
    ]
    if not found:
        return replace(one, was_sent=False)
    return replace(one, answer=found[0], ended=history.quiet_after(ended))
