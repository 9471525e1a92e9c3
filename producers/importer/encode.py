"""Makes the command of an import's line; its id is derived from the line's content.

The id is deliberately a plain hash. Anyone who can read the log and guesses a person's e-mail, name
and age can confirm the guess with it, so it must not outlive those fields:
- `created_by`, and the creation's `command_id`, are stored beside the fields in the user's events,
  history and rows, and are removed with them by an erasure. The marker that remains has the
  erasure's id.
- As a key it stays in `user-commands` as long as the command with its fields, and in
  `user-outcomes` a day longer (`schemas.topics`). Every outcome there, of any client, also has a
  digest of its command's body that would confirm the same guess: other ids would hide nothing.
- Logs, dead letters and the list of rejects contain no command ids.

A keyed hash would need a secret that every importing machine shares and that must never be lost. A
hash short enough to be ambiguous would turn different lines into one command (`command_id_reused`).
To remove the hashes sooner, shorten the retention of both topics.
"""

from hashlib import sha256
from typing import Final

from producers.importer.user_line import UserLine
from schemas.coding.codec import RecordCodec
from schemas.fields.rules import clean_age, clean_email, clean_name
from schemas.identity import email_key, email_shard, partition_of
from schemas.records import CREATE_USER, UserCommand

_ID_HEX_DIGITS: Final = 48


def content_id(email: str, name: str, age: int) -> str:
    """Return the command id of a line's cleaned fields; CSV and NDJSON give the same."""
    # No field contains a line feed, so different fields cannot give the same text.
    digest = sha256(f"{email}\n{name}\n{age}".encode()).hexdigest()
    return f"import-{digest[:_ID_HEX_DIGITS]}"


def clean_line(line: UserLine) -> tuple[str, str, int]:
    """Return e-mail, name and age as they will be stored.

    Raises `Rejected` (`invalid_command`) if a field breaks a rule.
    """
    return clean_email(line.email), clean_name(line.name), clean_age(line.age)


def encode_create(
    line: UserLine,
    codec: RecordCodec[UserCommand],
    partitions: int,
    now_ms: int,
    issued_by: str | None = None,
) -> tuple[bytes, bytes, int]:
    """Return key, value and partition of the command that creates the user of `line`.

    Raises `Rejected` (`invalid_command`) if a field breaks a rule.
    """
    email, name, age = clean_line(line)
    command_id = content_id(email, name, age)
    value = codec.encode(
        {
            "command_id": command_id,
            "issued_at": now_ms,
            "kind": CREATE_USER,
            "email": email,
            "name": name,
            "age": age,
            "issued_by": issued_by,
        }
    )
    return command_id.encode(), value, partition_of(email_shard(email_key(email)), partitions)
