"""Elasticsearch fails as servers do: away, overloaded, with lost answers, with writes that linger.

A proxy stands between every process and Elasticsearch.
"""

import json
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from random import Random
from typing import Final

from projectors.elasticsearch.index.indexes import CHECKPOINTS_ALIAS
from tests.faults.http_proxy import Request
from tests.faults.nemesis.faults.common import Broken, Fault, server_frozen, server_killed, wait
from tests.faults.nemesis.system import System

_REFUSALS: Final = (429, 500, 502, 503, 504)
_WRITES: Final = ("documents", "checkpoint")


@contextmanager
def _overloaded(system: System, _target: str, chance: Random) -> Broken:
    """Refuse many requests, sometimes all, in one way."""
    status, share = chance.choice(_REFUSALS), chance.choice((0.3, 0.7, 1.0))
    refused = 0

    def refusal(_request: Request) -> int | None:
        nonlocal refused
        if chance.random() >= share:
            return None
        refused += 1
        return status

    system.search.refusal = refusal
    try:
        yield
        wait(lambda: refused)
        system.happened[f"Elasticsearch answered {status}"] += bool(refused)
    finally:
        system.search.leave_alone()


@contextmanager
def _answer_lost(system: System, _target: str, chance: Random) -> Broken:
    """Let Elasticsearch carry out a write, without an answer for the writer."""
    kind = chance.choice(_WRITES)
    system.search.lose_answer(partial(_writes, kind))
    if wait(system.search.done.is_set):
        system.happened[f"Elasticsearch's answer lost: {kind}"] += 1
    system.search.leave_alone()
    yield


@contextmanager
def _write_late(system: System, _target: str, chance: Random) -> Broken:
    """Keep a write and let it go later: when the fault ends, or at the end of the run.

    By then its users have changed, and many are deleted or erased.
    """
    kind, is_very_late = chance.choice(_WRITES), chance.random() < 0.7
    system.search.hold_back(partial(_writes, kind))
    is_kept = wait(system.search.done.is_set)
    system.search.leave_alone()
    yield
    if is_kept and is_very_late:
        system.happened[f"Elasticsearch: {kind} written at the end of the run"] += 1
    elif is_kept:
        system.happened[f"Elasticsearch: {kind} written late"] += 1
        with suppress(OSError, HTTPException):  # it has died since
            let_go_late_writes(system)


def let_go_late_writes(system: System) -> None:
    """Carry out the writes that were kept, and count what Elasticsearch refused as stale."""
    for answer in system.search.let_go():
        items = json.loads(answer.body).get("items", [])
        statuses = [one["status"] for item in items for one in item.values()]
        system.happened["stale document or checkpoint refused"] += statuses.count(
            HTTPStatus.CONFLICT
        )


def _writes(kind: str, request: Request) -> bool:
    is_checkpoint = CHECKPOINTS_ALIAS in request.path
    return "/_bulk" in request.path and is_checkpoint == (kind == "checkpoint")


SEARCH_FAULTS: Final[Mapping[str, Fault]] = {
    "Elasticsearch killed": partial(server_killed, "elasticsearch"),
    "Elasticsearch frozen": partial(server_frozen, "elasticsearch"),
    "Elasticsearch overloaded": _overloaded,
    "answer of Elasticsearch lost": _answer_lost,
    "write to Elasticsearch late": _write_late,
}
