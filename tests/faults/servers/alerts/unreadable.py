"""Makes a change of address wait for a partition that no handler can restore."""

from collections.abc import Iterator
from contextlib import contextmanager

from schemas.identity import email_shard, partition_of, user_shard
from schemas.topics import EVENTS, HOPS
from tests.faults.servers.alerts.breakable import System
from tests.integration.foreign import ForeignWriter
from tests.observed.log import read
from tests.started.processes import eventually


@contextmanager
def unreadable_records(system: System) -> Iterator[None]:
    """A change of address waits for a partition that cannot be restored.

    The new address's partition is held up while the command is decided at home, and home when that
    partition is repaired and grants the address.
    """
    home, other = _users_apart(system)
    address = _address_in(system, user_shard(other))
    _break_record(system, other)
    system.start("handler")
    system.processes["handler"].wait_for("is not decided: cannot restore")
    hops = _messages(system)
    answer = system.services["commands"].http.put(
        f"/users/{home}/email", headers={"prefer": "respond-async"}, json={"email": address}
    )
    assert answer.status_code == 202, answer.text
    eventually(lambda: _messages(system) > hops, what="the command is decided at home")
    _break_record(system, home)
    _repair(system, other)
    system.start("handler")
    yield
    system.stop("handler")
    _repair(system, home)
    system.start("handler")


def _users_apart(system: System) -> tuple[str, str]:
    """Create users until two of them live in different partitions; return their ids."""
    first, http = "", system.services["commands"].http
    for number in range(100):
        created = http.post(
            "/users", json={"email": f"apart-{number}@example.com", "name": "Apart", "age": 40}
        )
        user_id = str(created.json()["user_id"])
        first = first or user_id
        if _partition(system, user_shard(user_id)) != _partition(system, user_shard(first)):
            return first, user_id
    raise AssertionError


def _partition(system: System, shard: int) -> int:
    return partition_of(shard, system.settings.partitions)


def _address_in(system: System, shard: int) -> str:
    """Return an address that belongs to the partition of `shard`."""
    wanted = _partition(system, shard)
    addresses = (f"moved-{number}@example.com" for number in range(1000))
    return next(one for one in addresses if _partition(system, email_shard(one)) == wanted)


def _messages(system: System) -> int:
    return sum(1 for _ in read(system.settings, HOPS))


def _break_record(system: System, user_id: str) -> None:
    """Stop the handler, and write bytes that nobody can read under a user's key."""
    system.stop("handler")
    partition = _partition(system, user_shard(user_id))
    ForeignWriter(system.settings).put(EVENTS, b"junk", user_id.encode(), partition)


def _repair(system: System, user_id: str) -> None:
    """Repair the record as the runbook says, once the stopped handler has left the group."""

    def is_repaired() -> bool:
        return system.rollbook.run("handler", "repair", user_id).returncode == 0

    eventually(is_repaired, what="the record is repaired")
