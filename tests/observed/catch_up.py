"""Waits for projectors, as every test that reads a store after a write must."""

from collections.abc import Collection

from projectors.catalog import OURS
from projectors.versions.status import CAUGHT_UP, read_status
from runtime.settings import Settings
from tests.started.processes import eventually


def is_caught_up(settings: Settings, read_models: Collection[str] = tuple(OURS)) -> bool:
    """Return whether every version of these read models has applied all that is on the log."""
    found = [one for one in read_status(settings).partitions if one.read_model in read_models]
    seen = {(one.read_model, one.partition) for one in found}
    return len(seen) == len(read_models) * settings.partitions and all(
        one.state == CAUGHT_UP for one in found
    )


def wait_caught_up(settings: Settings, *read_models: str, timeout_seconds: float = 60) -> None:
    """Wait until the read models, by default all, have applied all that is on the log."""
    eventually(
        lambda: is_caught_up(settings, read_models or tuple(OURS)),
        timeout_seconds,
        f"{read_models} caught up",
    )
