"""All faults by name."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from random import Random
from typing import Final

from tests.faults.nemesis.faults.common import Fault, killed, server_frozen, server_killed
from tests.faults.nemesis.faults.disks import DISK_FAULTS
from tests.faults.nemesis.faults.handlers import HANDLER_FAULTS
from tests.faults.nemesis.faults.postgres import POSTGRES_FAULTS
from tests.faults.nemesis.faults.projectors import PROJECTOR_FAULTS
from tests.faults.nemesis.faults.rebuilds import REBUILD_FAULTS
from tests.faults.nemesis.faults.requests import REQUEST_FAULTS
from tests.faults.nemesis.faults.search import SEARCH_FAULTS
from tests.faults.nemesis.plan import Step
from tests.faults.nemesis.system import System

FAULTS: Final[Mapping[str, Fault]] = {
    **HANDLER_FAULTS,
    **REQUEST_FAULTS,
    **POSTGRES_FAULTS,
    **SEARCH_FAULTS,
    **PROJECTOR_FAULTS,
    **REBUILD_FAULTS,
    **DISK_FAULTS,
    "broker killed": partial(server_killed, "kafka"),
    "broker frozen": partial(server_frozen, "kafka"),
    "registry killed": partial(server_killed, "registry"),
    "service killed": killed,
}


def inject(system: System, step: Step) -> AbstractContextManager[None]:
    """Return the fault of a step."""
    return FAULTS[step.fault](system, step.target, Random(step.seed))
