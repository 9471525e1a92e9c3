"""The example stays correct with several processes that are killed."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from projectors.versions.compare import compare
from projectors.versions.status import CAUGHT_UP, read_status
from projectors.versions.swap import swap
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.records import USER_DELETED
from schemas.topics import EVENTS
from tests.depth import depth
from tests.examples.domains import DomainVersions
from tests.examples.users_per_domain import count_users
from tests.integration.forged_log import ForgedLog
from tests.started.processes import Rollbook, eventually

NAMED = "domains=tests.examples.domains:DomainVersions"
USERS = 3_000


def test_processes_that_share_it_are_killed_and_lose_nothing(
    settings: Settings, rollbook: Rollbook
) -> None:
    """While a rebuild runs beside them; afterwards both versions equal the log."""
    root = Path(__file__).parents[4]
    rollbook.overrides |= {"ROLLBOOK_READ_MODELS": NAMED, "PYTHONPATH": str(root)}
    log = ForgedLog(settings)
    log.users(0, USERS)
    projectors = [rollbook.start_projector("domains") for _ in range(2)]
    for projector in projectors:
        projector.wait_for("assigned: partitions")
    rebuild = rollbook.start("projector", "rebuild", "domains", "--processes", "2")
    last = depth(4, 7)
    for version in range(2, last):
        for first in range(0, USERS, 500):
            log.users(first, 500, version)
        projectors[version % 2].kill()
        projectors[version % 2] = rollbook.start_projector("domains")
    log.gone(0, 500, last, USER_DELETED)
    assert rebuild.wait() == 0, rebuild.text()
    eventually(lambda: states(settings) == {(1, CAUGHT_UP), (2, CAUGHT_UP)}, 120)
    with closing(DomainVersions(settings)) as versions:
        swap(settings, versions, 2)
        decode = Registry(settings).codec(EVENTS.schema).decode
        for number in (1, 2):
            found = compare(settings, versions.open(number), decode, {})
            assert (found.same, found.rows) == (True, USERS)
    assert count_users(settings) == [("example.com", USERS - 500)]


def states(settings: Settings) -> set[tuple[int | None, str]]:
    """Return the versions of the example with the state of each."""
    status = read_status(replace(settings, read_models=NAMED))
    return {(one.version, one.state) for one in status.partitions if one.read_model == "domains"}
