"""The messages of an address change between partitions: how they are built and checked.

`address_change` explains the protocol. Messages are records of the topic `user-hops`, which only
handlers may write.
"""

from producers.domain.aggregate import ChangeEmail
from producers.domain.answers import CommandRef
from schemas.errors import Poisoned, Rejected
from schemas.fields.rules import clean_command_id
from schemas.identity import parse_user_id
from schemas.records import AddressMessage, EmailClaim, User, UserEvent
from schemas.trust import MAX_TIME_MS

# To the user's home partition, and to the partition of the address.
TO_HOME = frozenset({"granted", "refused"})
TO_ADDRESS = frozenset({"reserve", "keep", "release", "free"})
_WITH_COMMAND = frozenset({"reserve", "granted", "refused"})


def reserve(ref: CommandRef, command: ChangeEmail, now: int) -> AddressMessage:
    """Return home's request for the new address; it carries the whole command."""
    return {
        **_message("reserve", ref.command_id, command.user_id.text, command.address.key, now),
        "email": command.address.email,
        "command_offset": ref.offset,
        "digest": ref.digest,
        "expected_version": command.expected_version,
        "issued_by": command.issued_by,
    }


def granted(request: AddressMessage, now: int) -> AddressMessage:
    """Return the grant of a request: the address is reserved for its user."""
    return {**request, "kind": "granted", "sent_at": now}


def refused(request: AddressMessage, holder_id: str | None, now: int) -> AddressMessage:
    """Return the refusal of a request: another user holds the address."""
    return {**request, "kind": "refused", "holder_id": holder_id, "sent_at": now}


def granted_again(claim: EmailClaim, now: int) -> AddressMessage:
    """Return a copy of an open grant, for a restore: it is answered but decides nothing."""
    return {
        **_message("granted", claim["claim_id"], claim["user_id"], claim["email_key"], now),
        "email": claim["email"],
        "command_offset": claim["command_offset"],
        "digest": claim["digest"],
        "expected_version": claim["expected_version"],
        "again": True,
    }


def grant_answer(grant: AddressMessage, key: str, now: int, *, holds: bool) -> AddressMessage:
    """Return home's answer to a grant: `keep` if the user holds the address now, else `release`."""
    kind = "keep" if holds else "release"
    message = _message(kind, grant["claim_id"], grant["user_id"], key, now)
    return {**message, "command_offset": grant["command_offset"]}


def free(event: UserEvent, key: str, now: int) -> AddressMessage:
    """Return the message that frees an address of another partition, which the user has left."""
    return _message("free", event["command_id"], event["user_id"], key, now)


def left_key(before: User | None, event: UserEvent) -> str | None:
    """Return the key of the address that the user leaves with `event`; None if it leaves none."""
    old = before["email_key"] if before else None
    new = event["user"]["email_key"] if event["user"] else None
    return None if old == new else old


def _message(kind: str, claim_id: str, user_id: str, key: str, now: int) -> AddressMessage:
    return {
        "claim_id": claim_id,
        "kind": kind,
        "sent_at": now,
        "user_id": user_id,
        "email": None,
        "email_key": key,
        "holder_id": None,
        "command_offset": None,
        "digest": None,
        "expected_version": None,
        "again": False,
        "issued_by": None,
    }


def checked_key(message: AddressMessage) -> str:
    """Return the key of the address that `message` is about.

    Raises `Poisoned` (`bad_hop`) for a message that no handler writes, so that a foreign record
    cannot stop a handler.
    """
    kind, key = message["kind"], message["email_key"]
    if kind not in TO_HOME | TO_ADDRESS:
        raise Poisoned("an address message is of an unknown kind", code="bad_hop")
    try:
        clean_command_id(message["claim_id"])
        is_canonical = parse_user_id(message["user_id"]) == message["user_id"]
    except Rejected:
        is_canonical = False
    if not is_canonical or key is None or not 0 <= message["sent_at"] <= MAX_TIME_MS:
        raise Poisoned("an address message names no claim, user, address or time", code="bad_hop")
    carried = [message["email"], message["command_offset"], message["digest"]]
    if kind == "refused":
        carried.append(message["holder_id"])
    if kind in _WITH_COMMAND and None in carried:
        raise Poisoned("an address message does not say what the command asked", code="bad_hop")
    return key
