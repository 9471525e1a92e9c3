"""From the released release to this tree and back, process by process, while clients send."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.command_line.terminal import EXIT_REFUSED, EXIT_USAGE
from runtime.settings import Settings
from schemas.formats import LATEST_FORMAT
from schemas.records import CHECK_UPGRADE, ERASE_USER, FINALISE_UPGRADE
from schemas.topics import COMMANDS, HISTORY, OUTCOMES
from tests.depth import DEEP
from tests.observed.log import read
from tests.started.processes import Rollbook
from tests.upgrade.deployment import DOWNWARDS, HANDLERS, UPWARDS, Deployment, Load
from tests.upgrade.told import wrong_answers, wrong_events

pytestmark = pytest.mark.timeout(900)

ROUNDS = 5
SENDERS = 3
ANSWERS = 200


@dataclass
class Rolling:
    """A deployment whose processes are replaced one at a time, under the load of clients."""

    deployment: Deployment
    loads: list[Load]
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def roll(self, release: Rollbook, names: Iterable[str]) -> None:
        """Replace processes by those of `release`: stopped, or killed as by a crash."""
        for name in names:
            self.deployment.replace(name, release, crash=self.chance.random() < 0.3)
            if name in HANDLERS:
                self.require_answers()

    def require_answers(self) -> None:
        """Wait until every client has got further answers."""
        wanted = [(load, load.answers() + ANSWERS) for load in self.loads]
        for load, answers in wanted:
            load.wait_for(answers)

    def assert_valid_at_rest(self, old: Rollbook) -> None:
        """Fail unless `rollbook verify` of the released release finds nothing wrong.

        Under load it may report a user whose address is changed while it reads.
        """
        for load in self.loads:
            load.freeze()
        assert_valid(old)
        for load in self.loads:
            load.thaw()


@pytest.mark.skipif(not DEEP, reason="takes more than a minute; in `make test-deep`")
def test_a_rolling_upgrade_and_downgrade_loses_nothing(
    settings: Settings, rollbook: Rollbook, old: Rollbook
) -> None:
    """Every command is decided once, and each stage leaves a registry that `verify` accepts."""
    rolling = Rolling(Deployment(old), [Load(old, "old", SENDERS)])
    assert Path(old.installed or "").parents[1] in rolling.loads[0].packages().parents
    rolling.require_answers()
    assert rollbook.run("topics", "ensure").returncode == 0
    rolling.loads.append(Load(rollbook, "new", SENDERS))
    forgotten, last = UPWARDS[0], UPWARDS[-1]
    for _ in range(ROUNDS):
        rolling.roll(rollbook, UPWARDS)
        assert_valid(rollbook)
        rolling.roll(old, DOWNWARDS)
        rolling.assert_valid_at_rest(old)
    rolling.roll(rollbook, [name for name in DOWNWARDS if name not in {forgotten, last}])
    assert_finalising_waits_for(last, rolling, rollbook)
    assert_a_forgotten_projector_recovers(forgotten, rolling, rollbook)
    assert_the_old_release_refuses(last, rolling, rollbook, old)
    assert_told(settings, rolling)
    assert_valid(rollbook)


def assert_finalising_waits_for(last: str, rolling: Rolling, rollbook: Rollbook) -> None:
    """The log is finalised only once the handler `last` is upgraded, too; a second time is idle."""
    refused = rollbook.run("upgrade", "finalise", "--yes")
    assert (refused.returncode, refused.stdout) == (EXIT_REFUSED, ""), refused
    assert "handler of an older release" in refused.stderr
    assert f"({last.removeprefix('handler ')} on " in refused.stderr
    rolling.roll(rollbook, [last])
    for changed in (True, False):
        found = rollbook.ndjson("upgrade", "finalise", "--yes")
        assert {(one["format"], one["changed"]) for one in found} == {(LATEST_FORMAT, changed)}
    rolling.require_answers()


def assert_a_forgotten_projector_recovers(name: str, rolling: Rolling, rollbook: Rollbook) -> None:
    """One of the released release takes each mark for a poisoned record, and loses nothing else."""
    old = rolling.deployment.process(name)
    old.wait_for("dead letter: ", times=rollbook.settings.partitions)
    rolling.deployment.replace(name, rollbook)
    retried = rollbook.ndjson("dead-letters", "retry", "--all")
    assert [one["result"] for one in retried] == ["applied"] * rollbook.settings.partitions
    assert_valid(rollbook)


def assert_the_old_release_refuses(
    handler: str, rolling: Rolling, rollbook: Rollbook, old: Rollbook
) -> None:
    """A handler of the released release ends before it decides; the others continue."""
    refusing = rolling.deployment.replace(handler, old, wait=False)
    assert refusing.wait() == EXIT_USAGE, refusing.text()
    assert re.search(r"cannot restore: \S+-user-events partition \d", refusing.text())
    assert "restored partition" not in refusing.text()
    rolling.deployment.start(handler, rollbook)
    rolling.require_answers()


def assert_valid(rollbook: Rollbook) -> None:
    """Fail unless `rollbook verify` finds nothing wrong."""
    rollbook.ndjson("verify")


def assert_told(settings: Settings, rolling: Rolling) -> None:
    """End the clients; fail unless the log has what they were told, no more and no less."""
    told = [one for load in rolling.loads for one in load.stop()]
    assert rolling.deployment.all_run()
    upgrades = {
        one["command_id"]
        for _, one in read(settings, COMMANDS)
        if one["kind"] in {CHECK_UPGRADE, FINALISE_UPGRADE}
    }
    outcomes = [
        one
        for _, one in read(settings, OUTCOMES, skip_foreign=True)
        if one["command_id"] not in upgrades
    ]
    history = [one for _, one in read(settings, HISTORY, skip_foreign=True)]
    assert wrong_answers(told, outcomes) == []
    assert wrong_events(told, history) == []
    # The last events are of the format that was finalised.
    issued_by = {event["command_id"]: event["issued_by"] for event in history}
    for name in ("old0", "new0"):
        kept = [one for one in told if one.is_accepted and one.command["kind"] != ERASE_USER]
        last = [one.command_id for one in kept if one.command["issued_by"] == name][-1]
        assert issued_by[last] == name
