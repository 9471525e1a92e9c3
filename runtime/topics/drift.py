"""What to do about topics that differ from their definition: refuse, or warn, and how to fix it.

Managed brokers limit many options, so a handler runs with limits on erasure and replicas that
differ. It does not run with options under which Kafka deletes records that the registry needs.
"""

import logging
import time
from collections.abc import Iterable
from typing import TypeAlias

from runtime.settings import Settings
from runtime.topics.admin import TopicReport, topic_reports
from schemas.errors import Forbidden, Misconfigured, Unavailable
from schemas.topics import DEAD_LETTERS

log = logging.getLogger(__name__)

# Compacted topics lose what is deleted by age or size; the others lose messages that have the same
# key. With unclean elections, brokers lose confirmed records.
_LOSES_RECORDS = {"cleanup.policy", "retention.bytes", "unclean.leader.election.enable"}
_CHECK_SECONDS = 60.0

# The option, what it must be, and what it is.
Drift: TypeAlias = tuple[str, str, str]


def lossy_drift(report: TopicReport, settings: Settings) -> list[Drift]:
    """Return the differences of a topic under which Kafka deletes records that are needed."""
    if report.name == settings.named(DEAD_LETTERS.name):
        return []  # no decision and no read model depends on these
    return [
        (option, wanted, found)
        for option, (wanted, found) in report.drift.items()
        if option in _LOSES_RECORDS
    ]


def fix_command(report: TopicReport, settings: Settings) -> str:
    """Return the command of Kafka that gives a topic its options back."""
    servers = settings.kafka_bootstrap_servers
    options = [f"{name}={wanted}" for name, (wanted, _found) in report.drift.items()]
    replicas = f"replication.factor={settings.replication_factor}"
    if replicas in options:
        options.remove(replicas)
    if not options:
        return f"kafka-reassign-partitions.sh --bootstrap-server {servers}"
    return (
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics "
        f"--entity-name {report.name} --add-config {','.join(options)}"
    )


def refuse_lossy_drift(reports: Iterable[TopicReport], settings: Settings) -> None:
    """Raise `Misconfigured` (`topic_drift`) for the first topic that loses records."""
    for report in reports:
        for option, wanted, found in lossy_drift(report, settings):
            raise Misconfigured(
                f"topic {report.name} has {option}={found}, which loses records: "
                f"it must be {wanted}",
                code="topic_drift",
                next_step=fix_command(report, settings),
            )


class DriftWatch:
    """Checks the topics at the first call and then once a minute."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._due = 0.0
        self._reported: set[tuple[str, str]] = set()

    def __call__(self) -> None:
        """Raise `Misconfigured` if a topic loses records; warn of other drift, once."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _CHECK_SECONDS
        try:
            reports = topic_reports(self._settings)
        except (Unavailable, Forbidden) as error:
            log.warning("the topics' options are not checked: %s", error)
            return
        refuse_lossy_drift(reports, self._settings)
        found = {(report.name, line) for report in reports for line in report.differences()}
        for _, line in sorted(found - self._reported):
            log.warning("topic %s", line)
        self._reported |= found
