"""The steps of an address change that crosses partitions, each in one transaction.

```
 home ── reserve ─► new address's partition ── granted | refused ─► home
 home ── keep | release ─► new address's partition,  home ── free ─► old address's partition
```

Home keeps no pending state: a grant carries the command, which is decided on arrival. Every grant
is answered, with `keep` if the user holds the address after it and `release` if not, so that no
address stays reserved for ever. Messages between two partitions arrive once and in the order they
were sent.

Each sending of a command has its own claim, and an address is taken as long as there is any claim:
a grant counts until it is answered, even if all other claims have been answered. After a restore,
a partition sends the grants that are still open again, in case they outlived `user-hops`. The
originals come first in the same log, so the copies are answered but never decide anything.
"""

from itertools import chain

from producers.domain import address_messages
from producers.domain.aggregate import ChangeEmail, decide
from producers.domain.answers import CommandRef, reject, repeat
from producers.domain.decisions import accept_events, answer_latest_change
from producers.domain.overlay import Overlay
from producers.domain.parse import address_of, user_id_of
from producers.domain.state import HELD, RESERVED
from schemas.errors import Poisoned, Rejected
from schemas.identity import email_shard, user_shard, uuid_bytes
from schemas.records import AddressMessage, EmailClaim


def apply_message(overlay: Overlay, message: AddressMessage) -> None:
    """Apply one step of an address change. Idempotent: a repeated message changes nothing.

    Raises `Poisoned` if no handler can have written it.
    """
    key = address_messages.checked_key(message)
    _require_here(overlay, message, key)
    overlay.follow(message["sent_at"])
    match message["kind"]:
        case "reserve":
            _reserve(overlay, message, key)
        case "granted":
            _decide(overlay, message)
            _answer_grant(overlay, message, key)
        case "refused":
            _decide(overlay, message)
        case "keep":
            _keep(overlay, message, key)
        case "release":
            _release(overlay, message, key)
        case "free":
            _free(overlay, message, key)
        case kind:
            raise AssertionError(f"a message of kind {kind} passed the check")


def _require_here(overlay: Overlay, message: AddressMessage, key: str) -> None:
    goes_home = message["kind"] in address_messages.TO_HOME
    shard = user_shard(message["user_id"]) if goes_home else email_shard(key)
    if not overlay.state.owns(shard):
        raise Poisoned("an address message is on the wrong partition", code="bad_hop")


def _reserve(overlay: Overlay, message: AddressMessage, key: str) -> None:
    """Apply `reserve` at the new address: reserve it, or refuse and name its holder."""
    home = user_shard(message["user_id"])
    holder_id = overlay.holder_id(key)
    if not _may_reserve(holder_id, message):
        overlay.send(home, address_messages.refused(message, holder_id, overlay.now))
        return
    overlay.put_claim(
        {
            "claim_id": message["claim_id"],
            "email_key": key,
            "user_id": message["user_id"],
            "status": RESERVED,
            "claimed_at": overlay.now,
            "email": message["email"],
            "command_offset": message["command_offset"],
            "digest": message["digest"],
            "expected_version": message["expected_version"],
        }
    )
    overlay.send(home, address_messages.granted(message, overlay.now))


def _may_reserve(holder_id: str | None, message: AddressMessage) -> bool:
    """Return whether the address is free, or held by the same user through another change."""
    return holder_id in {None, message["user_id"]}


def resend_open_grants(overlay: Overlay) -> None:
    """Send every unanswered grant again, as must be done after a restore."""
    for claim in chain.from_iterable(overlay.state.claims.values()):
        if claim["status"] == RESERVED:
            message = address_messages.granted_again(claim, overlay.now)
            overlay.send(user_shard(claim["user_id"]), message)


def _answer_grant(overlay: Overlay, message: AddressMessage, key: str) -> None:
    """Answer a grant at home: whether the user holds the address now."""
    known = overlay.user(uuid_bytes(message["user_id"]))
    holds = known is not None and known.user is not None and known.user["email_key"] == key
    answer = address_messages.grant_answer(message, key, overlay.now, holds=holds)
    overlay.send(email_shard(key), answer)


def _decide(overlay: Overlay, message: AddressMessage) -> None:
    """Decide, at home, the command that the reply carries, unless the reply is a copy."""
    if message["again"]:
        return
    user_id = user_id_of(message["user_id"])
    ref = CommandRef(
        message["claim_id"],
        message["command_offset"] or 0,
        message["digest"] or b"",
        user_id.text,
    )
    first, known = overlay.answer(ref.command_id), overlay.user(user_id.packed)
    if first is not None:
        # Sent twice before the first was decided: the second sender waits for an answer as well.
        if first["command_offset"] != ref.offset:
            repeat(overlay, first, ref)
        return
    address = address_of(message["email"] or "")
    command = ChangeEmail(
        ref.command_id, user_id, address, message["expected_version"], message["issued_by"]
    )
    if known is not None and known.command_id == ref.command_id:
        answer_latest_change(overlay, ref, command, known)
        return
    holder_id = None if message["kind"] == "granted" else message["holder_id"]
    try:
        slot = overlay.next_slot(user_id.text)
        events = decide(known, command, slot, holder_id=holder_id)
    except Rejected as error:
        reject(overlay, ref, error)
        return
    accept_events(overlay, ref, command, known, events)


def _keep(overlay: Overlay, message: AddressMessage, key: str) -> None:
    """Apply `keep` at the new address: the user now holds it, by exactly one claim."""
    claim = _open_claim(overlay, message, key)
    if claim is None:
        return
    if any(one["status"] == HELD for one in overlay.claims_of(key)):
        overlay.drop_claim(claim)
        return
    kept: EmailClaim = {**claim, "status": HELD, "email": None, "digest": None}
    overlay.put_claim(kept)


def _release(overlay: Overlay, message: AddressMessage, key: str) -> None:
    """Apply `release` at the new address: drop the grant, which was not used."""
    claim = _open_claim(overlay, message, key)
    if claim is not None:
        overlay.drop_claim(claim)


def _open_claim(overlay: Overlay, message: AddressMessage, key: str) -> EmailClaim | None:
    """Return the claim that `message` answers; None if it is answered already."""
    sending = (message["user_id"], message["command_offset"], RESERVED)
    for claim in overlay.claims_of(key):
        if (claim["user_id"], claim["command_offset"], claim["status"]) == sending:
            return claim
    return None


def _free(overlay: Overlay, message: AddressMessage, key: str) -> None:
    """Apply `free` at the old address: its holder has left it, or is gone.

    The message arrives after the `keep` by which the user came to hold the address, and before any
    later one.
    """
    for claim in overlay.claims_of(key):
        if claim["user_id"] == message["user_id"] and claim["status"] == HELD:
            overlay.drop_claim(claim)
