"""A log that another release wrote: nothing is lost, and no address is given to a second user."""

import json
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from schemas.coding.codec import HEADER_BYTES, MAGIC, RecordCodec, schema_text
from schemas.formats import EVENT_SCHEMAS, LATEST_FORMAT
from schemas.records import CommandOutcome, EmailClaim, UserEvent
from schemas.topics import EMAILS, EVENTS, OUTCOMES
from tests.samples.codecs import codec, schema_by_id
from tests.samples.events import event_of, user_id_of
from tests.samples.given import NOW, PARTITIONS, address_in, create, home_of, update
from tests.unit.producers.handler.in_memory.stepping import Cluster, sizes

JANE = "jane@example.com"
HOME = home_of(JANE)
NEWER_ID = 77


class Registered(NamedTuple):
    """A cluster in which Jane is registered, her id and her event."""

    cluster: Cluster
    user_id: str
    event: UserEvent

    def rewrite(self, **user: Any) -> bytes:
        """Return the value of her event with other fields of the user."""
        event: Any = {**self.event, "user": {**(self.event["user"] or {}), **user}}
        return codec(EVENT_SCHEMAS[1]).encode(event)

    def replace_last(self, value: bytes | None) -> None:
        """Put `value` in the place of her event."""
        log = self.cluster.log.partitions[EVENTS.name, HOME]
        [at] = [n for n, one in enumerate(log.entries) if one.key == self.user_id.encode()]
        log.entries[at] = replace(log.entries[at], value=value)

    def append(self, value: bytes | None) -> None:
        """Append `value` under her id, as another process would."""
        self.cluster.log.append(EVENTS.name, HOME, self.user_id.encode(), value)

    def ask(self, command: Any) -> CommandOutcome:
        """Return the answer of a handler that has just started."""
        before = len(self.cluster.read(OUTCOMES))
        self.cluster.send(command)
        self.cluster.decide(before + 1, self.cluster.start())
        outcome: CommandOutcome = self.cluster.read(OUTCOMES)[-1][1]
        return outcome


@pytest.fixture
def jane() -> Registered:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(create(JANE, command_id="create"))
    cluster.decide(1, handler)
    [(_, event)] = cluster.read(EVENTS)
    return Registered(cluster, event["user_id"], event)


def assert_stops(cluster: Cluster, number: int, caplog: pytest.LogCaptureFixture) -> str:
    """Fail unless a new handler decides every partition but this one; return what it logs."""
    handler = cluster.start()
    cluster.step_until(lambda: sizes(handler) == [PARTITIONS - 1], handler)
    text = f"partition {number} is not decided: cannot restore: "
    assert text in caplog.text
    return caplog.text.partition(text)[2]


@pytest.mark.parametrize(
    "user",
    [
        {"name": "J" * 300},
        {"name": "\u1680 \u2800"},
        {"age": 1_000},
        {"created_by": "c" * 200},
        {"email": f"{'j' * 400}@example.com"},
    ],
    ids=lambda user: next(iter(user)),
)
def test_what_todays_rules_refuse_is_restored_and_carried(jane: Registered, user: Any) -> None:
    """Another release accepted it. The user keeps it, and the address has its one holder."""
    jane.replace_last(jane.rewrite(**user))
    assert jane.ask(create(JANE, command_id="second"))["code"] == "user_already_exists"
    outcome = jane.ask(update(jane.user_id, age=40))
    assert outcome["status"] == "accepted"
    [*_, (_, event)] = jane.cluster.read(EVENTS)
    assert event["user"] == {**(jane.event["user"] or {}), **user, "age": 40}


def write_with_a_new_field(jane: Registered, *, of_user: bool) -> None:
    """Replace Jane's event by one with a field that this release does not know."""
    schema = json.loads(schema_text(EVENT_SCHEMAS[1]))
    field = {"name": "phone", "type": ["null", "string"], "default": None}
    (schema["fields"][-1]["type"][1] if of_user else schema)["fields"].append(field)

    def find(schema_id: int) -> str:
        return json.dumps(schema) if schema_id == NEWER_ID else schema_by_id(schema_id)

    codecs = jane.cluster.codecs
    reader: RecordCodec[Any] = RecordCodec(EVENTS.schema, codec(EVENTS.schema).schema_id, find)
    jane.cluster.codecs = replace(codecs, events={**codecs.events, LATEST_FORMAT: reader})
    # In this schema the user is the event's last field, so the new one comes last in both cases.
    body = jane.rewrite()[HEADER_BYTES:] + b"\x02\x021"
    jane.replace_last(MAGIC + NEWER_ID.to_bytes(4) + body)


@pytest.mark.parametrize("of_user", [False, True])
def test_an_unknown_field_stops_the_partition(
    jane: Registered, caplog: pytest.LogCaptureFixture, *, of_user: bool
) -> None:
    """A handler that decided an update would write the state back without it."""
    write_with_a_new_field(jane, of_user=of_user)
    jane.cluster.send(update(jane.user_id, age=40))
    logged = assert_stops(jane.cluster, HOME, caplog)
    assert "written with fields that this release does not know (run the release" in logged
    assert len(jane.cluster.read(OUTCOMES)) == 1


TRUNCATED = "truncated"
UNREADABLE = {
    TRUNCATED: b"",
    "foreign": b"no avro",
    "tombstone": None,
    "another user": codec(EVENTS.schema).encode(event_of("joan@example.com")),
    "impossible time": codec(EVENTS.schema).encode(event_of(JANE, occurred_at=-1)),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("instead", [True, False])
def test_whatever_is_unreadable_under_a_users_id_stops_the_partition(
    jane: Registered, kind: str, caplog: pytest.LogCaptureFixture, *, instead: bool
) -> None:
    """Whether compaction has removed the readable record before it or not."""
    value = jane.rewrite()[:-1] if kind == TRUNCATED else UNREADABLE[kind]
    (jane.replace_last if instead else jane.append)(value)
    jane.cluster.send(create(JANE, command_id="second"))
    logged = assert_stops(jane.cluster, HOME, caplog)
    assert logged.startswith(f"user-events partition {HOME} offset ")
    assert "(docs/upgrading.md says how to replace the record)" in logged
    assert JANE not in logged
    assert len(jane.cluster.read(OUTCOMES)) == 1


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_record_before_a_readable_one_stops_nothing(
    jane: Registered, kind: str
) -> None:
    """Compaction would remove it: the result must not depend on whether it has done so."""
    good = jane.rewrite()
    jane.replace_last(good[:-1] if kind == TRUNCATED else UNREADABLE[kind])
    jane.append(good)
    assert jane.ask(create(JANE, command_id="second"))["code"] == "user_already_exists"


def test_several_unreadable_records_are_counted(
    jane: Registered, caplog: pytest.LogCaptureFixture
) -> None:
    jane.replace_last(b"no avro")
    for number in range(3):
        user_id = user_id_of(JANE, number + 1)
        jane.cluster.log.append(EVENTS.name, HOME, user_id.encode(), b"no avro")
    assert " (and 3 more): " in assert_stops(jane.cluster, HOME, caplog)


@pytest.mark.parametrize(
    "key", [b"foreign", b"", None, user_id_of(address_in((HOME + 1) % PARTITIONS)).encode()]
)
def test_bytes_under_other_keys_are_skipped(jane: Registered, key: bytes | None) -> None:
    """They are no user of the partition, so no address depends on them."""
    jane.cluster.log.append(EVENTS.name, HOME, key, b"no avro")
    assert jane.ask(create(JANE, command_id="second"))["code"] == "user_already_exists"


def claim(user_id: str) -> EmailClaim:
    """Return the claim on Jane's address of a user of another partition."""
    return {
        "claim_id": "change-1",
        "email_key": JANE,
        "user_id": user_id,
        "status": "held",
        "claimed_at": NOW,
        "email": None,
        "command_offset": 5,
        "digest": None,
        "expected_version": None,
    }


ELSEWHERE = user_id_of(address_in((HOME + 1) % PARTITIONS))
CLAIM_KEY = f"{ELSEWHERE}:5".encode()


@pytest.mark.parametrize(
    "value",
    [
        b"no avro",
        codec(EMAILS.schema).encode(claim(ELSEWHERE))[:-1],
        codec(EMAILS.schema).encode({**claim(ELSEWHERE), "command_offset": 6}),
        codec(EMAILS.schema).encode({**claim(ELSEWHERE), "email_key": address_in(HOME - 1)}),
    ],
)
def test_an_unreadable_claim_stops_the_partition(
    value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it the address would be given to a second user; its release replaces it."""
    cluster = Cluster()
    cluster.log.append(EMAILS.name, HOME, CLAIM_KEY, value)
    assert_stops(cluster, HOME, caplog)
    cluster.log.append(EMAILS.name, HOME, CLAIM_KEY, None)
    cluster.ready()


def test_a_claim_under_a_key_that_no_handler_writes_is_skipped() -> None:
    """Its user id would stop the handler when grants are sent again."""
    cluster = Cluster()
    forged: EmailClaim = {**claim("nobody"), "status": "reserved"}
    cluster.log.append(EMAILS.name, HOME, b"nobody:5", codec(EMAILS.schema).encode(forged))
    handler = cluster.ready()
    cluster.send(create(JANE))
    cluster.decide(1, handler)
    assert cluster.read(OUTCOMES)[0][1]["status"] == "accepted"
