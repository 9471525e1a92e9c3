"""A line of an import becomes a command; the same content is the same command."""

import pytest

from producers.client.build import command_partition, create_command
from producers.importer.encode import content_id, encode_create
from producers.importer.run import ImportTotals
from producers.importer.user_line import UserLine
from schemas.coding.codec import RecordCodec
from schemas.errors import Rejected
from schemas.fields.rules import clean_command_id
from schemas.records import UserCommand

CODEC: RecordCodec[UserCommand] = RecordCodec("user_command", 1, lambda _id: "")


def encode(*fields: object) -> tuple[bytes, bytes, int]:
    return encode_create(UserLine(1, *fields), CODEC, partitions=8, now_ms=1)


def test_lines_with_equal_content_have_the_same_command_id() -> None:
    """Surrounding spaces and the composition of accents make no difference."""
    assert encode("jo@example.com", " José ", 30)[0] == encode("jo@example.com", "José", 30)[0]


def test_a_corrected_line_is_a_new_command() -> None:
    """Each field counts, and no two different lines give the same text."""
    ids = {
        content_id("a@example.com", "A", 1),
        content_id("b@example.com", "A", 1),
        content_id("a@example.com", "B", 1),
        content_id("a@example.com", "A", 2),
        content_id("a@example.com", "A1", 2),
        content_id("a@example.com", "A", 12),
    }
    assert len(ids) == 6
    assert all(clean_command_id(command_id) == command_id for command_id in ids)


def test_equal_content_has_the_same_id_in_every_release() -> None:
    """A later release that runs an import again must not create any user twice."""
    assert (
        content_id("jane@example.com", "Jane Doe", 34)
        == "import-013f32c0d6adc156132ca969bd149d49e73b82a6005de34b"
    )


def test_a_line_becomes_the_command_that_a_client_would_send() -> None:
    """To the same partition, with its content's id."""
    key, value, partition = encode("Jane@Example.COM", "Jane", 34)
    command = create_command("Jane@Example.COM", "Jane", 34, key.decode())
    sent = CODEC.decode(value)
    assert {name: sent.get(name) for name in command} == {**command, "issued_at": 1}
    assert partition == command_partition(command, 8)


@pytest.mark.parametrize(
    "fields", [("a@", "A", 1), ("a@example.com", " ", 1), ("a@b.org", "A", "x")]
)
def test_a_line_that_breaks_a_rule_is_rejected(fields: tuple[object, ...]) -> None:
    """Before it is sent."""
    with pytest.raises(Rejected) as raised:
        encode(*fields)
    assert raised.value.code == "invalid_command"


def test_totals_always_add_up() -> None:
    """A line without an answer is undecided."""
    totals = ImportTotals(lines=10, created=4, already_there=3, rejected=2)
    assert totals.as_fields()["undecided"] == totals.undecided == 1
