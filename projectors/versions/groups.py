"""Deletes the consumer groups of versions that no longer exist.

Nothing reads the offsets that projectors commit to their groups, but lag monitors list them: the
group of a dropped version would lag behind for as long as brokers keep its offsets.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from projectors.contract.read_model import ReadModelVersions
from projectors.engine.subscription import group_of
from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, admin, kafka_available
from runtime.settings import Settings
from schemas.errors import Forbidden, Unavailable

_POLL_SECONDS: Final = 0.2
# How much longer than a session to wait for members: a host looks once a second for dropped
# versions, and a batch that is being written ends first.
SPARE_SECONDS: Final = 4.0


def drop_version(
    settings: Settings, versions: ReadModelVersions, number: int, report: Callable[[str], None]
) -> None:
    """Drop a version, then the groups of all dropped versions; `report` receives what was done.

    Blocks while members are in a group, at most for as long as a killed one would stay. Raises what
    `drop` raises. A group that cannot be deleted is only reported.
    """
    versions.drop(number)
    report(f"version {number} of {versions.name} is dropped")
    patience_seconds = settings.session_timeout_seconds + SPARE_SECONDS
    try:
        left = delete_leftover_groups(settings, versions, patience_seconds=patience_seconds)
    except (Unavailable, Forbidden) as error:
        report(f"its consumer group remains until the next drop or rebuild: {error}")
        return
    for group in left:
        report(f"the consumer group {group} still has members, so it remains")


def delete_leftover_groups(
    settings: Settings, versions: ReadModelVersions, *, patience_seconds: float = 0.0
) -> list[str]:
    """Delete the groups of dropped versions; return those that still have members.

    Waits for at most `patience_seconds` until members have left. Raises `Unavailable`, `Forbidden`
    without the permission Delete on a group.
    """
    deadline = time.monotonic() + patience_seconds
    left = leftover_groups(settings, versions)
    permission = f"Delete on group {', '.join(left)}"
    with kafka_available(settings, permission):
        client = admin(settings)
        while (left := _delete(client, left)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    return left


def leftover_groups(settings: Settings, versions: ReadModelVersions) -> list[str]:
    """Return the groups of versions that do not exist, as far as we may see them."""
    with kafka_available(settings, "Describe on groups"):
        client = admin(settings)  # kept in a variable: its futures never resolve once it is gone
        listed = client.list_consumer_groups(request_timeout=REQUEST_TIMEOUT_SECONDS).result().valid
    # Versions after groups: a version is created before its group.
    existing = {version.number for version in versions.versions()}
    begin = re.escape(settings.named(group_of(versions.name, 0)).removesuffix("0"))
    found = (re.fullmatch(begin + r"(\d+)", group.group_id) for group in listed)
    return sorted(one[0] for one in found if one is not None and int(one[1]) not in existing)


def _delete(client: AdminClient, groups: Sequence[str]) -> list[str]:
    """Delete groups; return those with members. Raises KafkaException."""
    if not groups:
        return []
    left = []
    futures = client.delete_consumer_groups(list(groups), request_timeout=REQUEST_TIMEOUT_SECONDS)
    for group, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.NON_EMPTY_GROUP:
                left.append(group)
            elif code != KafkaError.GROUP_ID_NOT_FOUND:
                raise
    return left
