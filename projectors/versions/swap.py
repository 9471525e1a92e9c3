"""Makes another version of a read model live, so that no query returns older data than before."""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Final

from projectors.contract.read_model import READY, ReadModel, ReadModelVersions
from projectors.contract.refusals import (
    version_not_built,
    version_not_found,
    version_paused,
)
from projectors.log.end import LogEnd, read_log_end
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import NotInTime, Rejected

_LOOK_SECONDS: Final = 0.02
# How long the writers of the live version may be blocked. Under load a version is a few batches
# behind.
HOLD_SECONDS: Final = 20.0


def swap(settings: Settings, versions: ReadModelVersions, number: int) -> None:
    """Make version `number` live for all queries in one step; idempotent.

    Raises `Rejected` (`version_not_found`, `version_not_ready`, `version_paused`), `NotInTime`
    (`version_behind`) if no projector runs or the version is too far behind, `Unavailable`. After
    an error nothing has changed.
    """
    _check_ready(versions, number)
    source = versions.source
    decode = Registry(settings).codec(source.topic.schema).decode
    with closing(versions.open(number)) as model:

        def await_caught_up() -> None:
            topic_id, ends = read_log_end(settings, source, decode)
            until = time.monotonic() + HOLD_SECONDS
            while (events := _events_behind(model, topic_id, ends)) > 0:
                if time.monotonic() > until:
                    raise _behind(versions.name, number, events)
                time.sleep(_LOOK_SECONDS)

        await_caught_up()  # before writers are blocked: one that is far behind blocks no writer
        versions.swap(number, await_caught_up)


def version_before(versions: ReadModelVersions) -> int:
    """Return the number of the version that was live before the present one.

    Raises `Rejected` (`no_version_before`) if it was dropped or never existed.
    """
    kept = [v for v in versions.versions() if not v.live and v.live_since is not None]
    if not kept:
        raise Rejected(
            f"no earlier live version of {versions.name} is left",
            code="no_version_before",
            next_step=f"`rollbook projector versions {versions.name}` lists the versions",
        )
    return max(kept, key=lambda version: version.live_since or 0).number


def _check_ready(versions: ReadModelVersions, number: int) -> None:
    found = {version.number: version for version in versions.versions()}
    if number not in found:
        raise version_not_found(versions.name, number)
    if found[number].state != READY:
        raise version_not_built(versions.name, number)
    if found[number].paused_at is not None and not found[number].live:
        raise version_paused(versions.name, number)


def _events_behind(model: ReadModel, topic_id: str, ends: Mapping[int, LogEnd]) -> int:
    # In a topic that was re-created, the same seqs belong to other events.
    applied = {p: at.last_seq for p, at in model.checkpoint().items() if at.topic_id == topic_id}
    return sum(max(0, end.last_seq - applied.get(p, 0)) for p, end in ends.items())


def _behind(name: str, number: int, events: int) -> NotInTime:
    return NotInTime(
        f"version {number} of {name} stays {events} events behind the log",
        code="version_behind",
        next_step=f"is `rollbook projector run {name}` running? then try again",
    )
