"""A pause is kept by the store, reaches every process, outlives them, and ends with `resume`."""

from contextlib import closing

import pytest

from producers.client.command_client import CommandClient
from projectors.catalog import OURS, open_versions
from projectors.contract import PausableVersions
from projectors.contract.read_model import Dropped
from projectors.engine.subscription import group_of
from projectors.versions.pause import set_paused
from projectors.versions.visibility import Visibility
from runtime.kafka.clients import admin
from runtime.settings import Settings
from schemas.errors import NotInTime, Rejected
from tests.started.processes import Rollbook, RunningProcess, eventually


@pytest.mark.parametrize("name", OURS)
def test_the_store_keeps_a_pause(store: Settings, name: str) -> None:
    """Another process sees it; a second pause keeps the time; a paused version can be dropped."""
    with closing(open_versions(store, name)) as versions, closing(open_versions(store, name)) as to:
        versions.begin()
        number = versions.create()
        with pytest.raises(Rejected) as building:
            set_paused(versions, number, paused=True)
        assert building.value.code == "version_not_ready"
        versions.finish(number)
        versions.accept(number)
        assert set_paused(versions, number, paused=True) == [2]
        seen = to.versions()
        assert [one.paused_at is not None for one in seen] == [False, True]
        set_paused(to, number, paused=True)
        assert versions.versions() == seen
        assert set_paused(versions, None, paused=False) == [1, 2]
        assert [one.paused_at for one in to.versions()] == [None, None]
        set_paused(versions, number, paused=True)
        versions.drop(number)
        assert [one.number for one in to.versions()] == [1]
        assert isinstance(to, PausableVersions)
        with pytest.raises(Dropped):
            to.set_paused(number, paused=True)


def members(settings: Settings) -> int:
    """Return how many processes are in the group of the first version."""
    client = admin(settings)
    [described] = client.describe_consumer_groups(
        [settings.named(group_of("postgres", 1))]
    ).values()
    return len(described.result().members)


def test_a_pause_holds_every_process_and_outlives_them(
    settings: Settings, rollbook: Rollbook, handler: RunningProcess
) -> None:
    """They stay in the group. A process that starts during the pause waits, too."""
    processes = [rollbook.start_projector("postgres") for _ in range(2)]
    eventually(lambda: members(settings) == 2, what="both are in the group")
    with CommandClient(settings) as client, Visibility(settings, ["postgres"]) as visible:
        first = client.create_user("jane@example.com", "Jane", 34)
        visible.wait(first.token or "", 60)
        done = rollbook.run("projector", "pause", "postgres")
        assert (done.returncode, done.stderr) == (0, "version 1 of postgres is paused\n")
        for process in processes:
            process.wait_for("postgres version 1 is paused")
        second = client.create_user("joe@example.com", "Joe", 35)
        token = second.token or ""
        assert processes[0].stop() == 0
        restarted = rollbook.start_projector("postgres")
        restarted.wait_for("postgres version 1 is paused")
        with pytest.raises(NotInTime, match="version 1 of it is paused"):
            visible.wait(token, 1)
        [shown] = [
            one for one in rollbook.ndjson("projector", "status") if one["read_model"] == "postgres"
        ]
        assert (shown["state"], shown["lag"], shown["live"]) == ("paused", 1, True)
        # A member that was killed is in it until its session ends.
        eventually(lambda: members(settings) == 2, what="the two that run are in the group")
        assert rollbook.run("projector", "resume", "postgres").returncode == 0
        visible.wait(token, 60)
    assert {process.stop() for process in (processes[1], restarted)} == {0}
