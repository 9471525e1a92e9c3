"""Pauses the projectors of a version: all its processes stop applying events until it is resumed.

The pause is stored in the read model's store, beside the state of the version, so it reaches every
process and outlives all of them (docs/decisions/0033). Processes look once a second. They finish
the batch that they are writing and stay in their consumer group.
"""

import time
from typing import Final

from projectors.contract.read_model import READY, PausableVersions, ReadModelVersions, Version
from projectors.contract.refusals import version_not_built, version_not_found
from schemas.errors import Rejected, Unavailable

_TRIES: Final = 5
_AGAIN_SECONDS: Final = 0.1


def set_paused(versions: ReadModelVersions, number: int | None, *, paused: bool) -> list[int]:
    """Pause version `number`, or all that are ready, or resume them; return their numbers.

    Raises `Rejected` (`version_not_found`, `version_not_ready`, `cannot_pause`), `Unavailable`.
    """
    if not isinstance(versions, PausableVersions):
        raise Rejected(
            f"the read model {versions.name} cannot be paused",
            code="cannot_pause",
            next_step="its class lacks `set_paused` (docs/your-own-read-model.md)",
        )
    chosen = _chosen(versions, number)
    for one in chosen:
        for _ in range(_TRIES):
            versions.set_paused(one, paused=paused)
            # In Elasticsearch, another change of the same version at this moment may undo ours.
            if _is_paused(versions.versions(), one) == paused:
                break
            time.sleep(_AGAIN_SECONDS)
        else:
            raise Unavailable(
                f"other processes are changing version {one} of {versions.name}",
                code="versions_busy",
                next_step="try again",
            )
    return chosen


def _chosen(versions: ReadModelVersions, number: int | None) -> list[int]:
    found = {version.number: version for version in versions.versions()}
    if number is None:
        ready = [one.number for one in found.values() if one.state == READY]
        if not ready:
            raise version_not_found(versions.name, 1)
        return ready
    if number not in found:
        raise version_not_found(versions.name, number)
    if found[number].state != READY:
        raise version_not_built(versions.name, number)
    return [number]


def _is_paused(found: list[Version], number: int) -> bool:
    return any(one.number == number and one.paused_at is not None for one in found)
