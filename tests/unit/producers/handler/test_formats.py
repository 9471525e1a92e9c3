"""A partition is written in its format, which one command raises, and older releases then stop."""

from typing import Any

import pytest

from schemas.errors import Poisoned
from schemas.formats import EVENT_SCHEMAS, LATEST_FORMAT, is_mark_id, mark_key
from schemas.identity import partition_of, user_shard
from schemas.records import CHECK_UPGRADE, FINALISE_UPGRADE, LogFormat, UserCommand
from schemas.topics import EVENTS, HISTORY, OUTCOMES
from schemas.trust import is_user_key
from tests.samples.codecs import codec
from tests.samples.given import (
    NOW,
    PARTITIONS,
    change_email,
    create,
    delete,
    erase,
    home_of,
    update,
)
from tests.unit.producers.handler.in_memory.stepping import Cluster, sizes

JANE = "jane@example.com"
HOME = home_of(JANE)


def finalise(
    number: int = HOME, wanted: int = LATEST_FORMAT, command_id: str | None = None, **fields: Any
) -> UserCommand:
    """Return the command that raises the format of a partition."""
    command: Any = {
        "command_id": command_id or f"finalise-{number}-{wanted}",
        "issued_at": NOW,
        "kind": FINALISE_UPGRADE,
        "user_id": mark_key(number, PARTITIONS),
        "email": None,
        "name": None,
        "age": None,
        "expected_version": wanted,
        "issued_by": "ops",
    }
    return command | fields  # type: ignore[no-any-return]


def formats(cluster: Cluster, number: int = HOME) -> list[int | None]:
    """Return the format of each event of a partition in `user-events`, None for a mark."""
    ids = {codec(name).schema_id: form for form, name in EVENT_SCHEMAS.items()}
    return [
        ids.get(int.from_bytes((value or b"")[1:5]))
        for partition, _, value in cluster.log.records(EVENTS.name)
        if partition == number
    ]


def by(command: UserCommand, issued_by: str) -> UserCommand:
    return {**command, "issued_by": issued_by}


def test_a_partition_is_written_in_the_first_format_until_it_is_finalised() -> None:
    """So an older release can take it back."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(by(create(JANE), "billing"))
    cluster.decide(1, handler)
    assert formats(cluster) == [1]
    assert cluster.read(HISTORY)[0][1]["issued_by"] is None
    cluster.send(finalise())
    cluster.decide(2, handler)
    user_id = cluster.read(HISTORY)[0][1]["user_id"]
    cluster.send(by(update(user_id, age=35), "support"))
    cluster.decide(3, handler)
    assert formats(cluster) == [1, None, 2]
    assert [event["issued_by"] for _, event in cluster.read(HISTORY)] == [None, "support"]
    marks = cluster.marks()
    assert [(one["format"], one["finalised_by"]) for one in marks.values()] == [(2, "ops")]
    assert list(marks) == [HOME]
    cluster.assert_log_is_valid()


def test_the_mark_comes_before_every_event_of_its_transaction() -> None:
    """A release that reads the partition meets the mark first."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(create(JANE), finalise(), finalise(command_id="again"), create(f"x.{JANE}"))
    cluster.decide(4, handler)
    assert formats(cluster) == [None, *([2] * (len(formats(cluster)) - 1))]
    assert formats(cluster).count(None) == 1


def test_finalising_is_idempotent_and_survives_a_restart() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(finalise())
    cluster.decide(1, handler)
    handler = cluster.ready()
    cluster.send(finalise(command_id="again"), finalise(wanted=1), create(JANE))
    cluster.decide(4, handler)
    outcomes = [outcome for _, outcome in cluster.read(OUTCOMES)]
    assert [(one["status"], one["code"]) for one in outcomes] == [("accepted", None)] * 4
    assert [one["version"] for one in outcomes[:3]] == [2, 2, 2]
    assert formats(cluster) == [None, 2]
    cluster.assert_log_is_valid()


@pytest.mark.parametrize(
    ("command", "code", "version"),
    [
        (finalise(kind=CHECK_UPGRADE), "only_checked", 1),
        (finalise(wanted=LATEST_FORMAT + 1), "unknown_format", 1),
        (finalise(wanted=LATEST_FORMAT + 1, kind=CHECK_UPGRADE), "unknown_format", 1),
        (finalise(expected_version=None), "invalid_command", None),
        (finalise(user_id=f"0198f3c2{mark_key(HOME, PARTITIONS)[8:]}"), "invalid_command", 1),
        (finalise(issued_by="Jane Doe"), "invalid_command", None),
        (finalise(issued_by="jane@example.com"), "invalid_command", None),
    ],
)
def test_what_may_not_be_finalised_is_rejected(
    command: UserCommand, code: str, version: int | None
) -> None:
    """Nothing is written; the version of the answer is the format of the partition."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(command)
    cluster.decide(1, handler)
    [(_, outcome)] = cluster.read(OUTCOMES)
    assert (outcome["code"], outcome["version"]) == (code, version)
    assert cluster.marks() == {}
    cluster.assert_log_is_valid()


def test_a_command_on_the_wrong_partition_is_rejected() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    value = cluster.codecs.commands.encode(finalise())
    cluster.log.append("user-commands", (HOME + 1) % PARTITIONS, b"finalise", value)
    cluster.decide(1, handler)
    assert cluster.read(OUTCOMES)[0][1]["code"] == "wrong_partition"


def test_no_command_reaches_the_mark_as_a_user() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(finalise())
    cluster.decide(1, handler)
    mark = mark_key(HOME, PARTITIONS)
    cluster.send(update(mark, age=1), delete(mark), erase(mark), change_email(mark, JANE))
    cluster.decide(5, handler)
    codes = [outcome["code"] for _, outcome in cluster.read(OUTCOMES)[1:]]
    assert codes == ["user_not_found"] * 4


@pytest.mark.parametrize("finalised", [True, False])
def test_a_change_of_address_between_partitions_keeps_who_asked(*, finalised: bool) -> None:
    """The messages between the partitions carry it, in the format of each sender."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(create(JANE), *(finalise(n) for n in range(PARTITIONS) if finalised))
    cluster.decide(1 + finalised * PARTITIONS, handler)
    [(_, event)] = cluster.read(HISTORY)
    addresses = [f"jane{n}@example.org" for n in range(8)]
    for number, address in enumerate(addresses):
        cluster.send(
            by(change_email(event["user_id"], address, command_id=f"c{number}"), f"key{number}")
        )
        cluster.step_until(lambda: len(cluster.read(HISTORY)) == number + 2, handler)  # noqa: B023
    assert {home_of(address) for address in addresses} == set(range(PARTITIONS))
    found = [event["issued_by"] for _, event in cluster.read(HISTORY)[1:]]
    assert found == [f"key{n}" if finalised else None for n in range(8)]


def test_an_erasure_does_not_keep_who_asked() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(finalise(), by(create(JANE), "billing"))
    cluster.decide(2, handler)
    user_id = cluster.read(HISTORY)[0][1]["user_id"]
    cluster.send(by(erase(user_id), "jane-herself"))
    cluster.decide(3, handler)
    assert [one["issued_by"] for _, one in cluster.read(HISTORY) if one][-1] is None


def test_an_id_repeated_by_another_key_gets_the_first_answer() -> None:
    """Who asks is no part of what is asked."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(by(create(JANE), "billing"), by(create(JANE), "support"))
    cluster.decide(2, handler)
    assert [outcome["repeated"] for _, outcome in cluster.read(OUTCOMES)] == [False, True]


def test_a_newer_format_stops_the_partition(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    mark: LogFormat = {"format": LATEST_FORMAT + 1, "finalised_at": NOW, "finalised_by": None}
    key = mark_key(HOME, PARTITIONS).encode()
    cluster.log.append(EVENTS.name, HOME, key, cluster.codecs.marks.encode(mark))
    handler = cluster.start()
    cluster.step_until(lambda: sizes(handler) == [PARTITIONS - 1], handler)
    assert (
        f"partition {HOME} is not decided: cannot restore: partition {HOME} is written in format 3"
        in caplog.text
    )
    assert "run the release that raised the format, or a later one" in caplog.text


@pytest.mark.parametrize("partitions", [1, 4, 7, 8, 4096])
def test_releases_without_formats_refuse_the_mark(partitions: int) -> None:
    """They stop a partition with another record's schema under the id of one of its users."""
    mark: LogFormat = {"format": 2, "finalised_at": NOW, "finalised_by": None}
    with pytest.raises(Poisoned) as caught:
        codec("user_event").decode(codec("log_format").encode(mark))
    assert caught.value.code == "wrong_schema"
    keys = [mark_key(number, partitions) for number in range(partitions)]
    assert len(set(keys)) == partitions
    for number, key in enumerate(keys):
        assert is_mark_id(key)
        assert is_user_key(key.encode(), number, partitions)
        assert partition_of(user_shard(key), partitions) == number
