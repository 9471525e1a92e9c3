"""The steps of a change of address that crosses partitions, each in one transaction.

```
 home ── reserve ─► new address's partition ── granted | refused ─► home
 home ── keep | release ─► new address's partition,  home ── free ─► old address's partition
```

Home keeps no pending state: a grant carries what the command asked, and is decided when it comes.
Every grant is answered, with `keep` if the user holds the address after it and `release` if not, so
that no address stays reserved for ever. Hops between two partitions arrive once and in the order
they were sent.

Each sending of a command has a claim of its own, and an address is taken as long as there is any:
a grant is worth something until it is answered, whatever becomes of the others. A partition sends
the grants that are still open again after a restore, should they have outlived `user-hops`. Their
first ones stand before them in the same log, so they are answered but never decide anything.
"""

from itertools import chain

from producers.domain.aggregate import ChangeEmail, decide
from producers.domain.decisions import Asked, accept, reject, repeat
from producers.domain.draft import Draft
from producers.domain.state import PartitionState
from schemas.errors import Poisoned, Rejected
from schemas.identity import parse_user_id, partition_of, user_shard
from schemas.records import EmailClaim, EmailHop
from schemas.rules import clean_command_id
from schemas.trust import MAX_TIME_MS

RESERVED, HELD = "reserved", "held"
_TO_HOME = {"granted", "refused"}
_TO_ADDRESS = {"reserve", "keep", "release", "free"}
_WITH_COMMAND = {"reserve", "granted", "refused"}


def take_hop(draft: Draft, hop: EmailHop) -> None:
    """Take one step of the saga. Idempotent: a hop that arrives again changes nothing.

    Raises `Poisoned` if it cannot be one of ours.
    """
    key = _checked_key(draft, hop)
    # What comes of a hop is not before it, though the clock of its sender may be ahead.
    draft.now = max(draft.now, hop["sent_at"])
    if hop["kind"] in _TO_HOME:
        _answer(draft, hop, key)
    elif hop["kind"] == "reserve":
        _reserve(draft, hop, key)
    elif hop["kind"] == "keep":
        _keep(draft, hop, key)
    elif hop["kind"] == "release":
        _release(draft, hop, key)
    else:
        _free(draft, hop, key)


def _checked_key(draft: Draft, hop: EmailHop) -> str:
    """Return the key of the address that `hop` is about.

    Raises `Poisoned` for what no handler writes, so that no stranger's record can stop one.
    """
    kind, key = hop["kind"], hop["email_key"]
    if kind not in _TO_HOME | _TO_ADDRESS:
        raise Poisoned("an email hop is of an unknown kind", code="bad_hop")
    try:
        clean_command_id(hop["claim_id"])
        is_canonical = parse_user_id(hop["user_id"]) == hop["user_id"]
    except Rejected:
        is_canonical = False
    if not is_canonical or key is None or not 0 <= hop["sent_at"] <= MAX_TIME_MS:
        raise Poisoned("an email hop names no claim, user, address or time", code="bad_hop")
    carried = [hop["email"], hop["command_offset"], hop["digest"]]
    if kind == "refused":
        carried.append(hop["holder_id"])
    if kind in _WITH_COMMAND and None in carried:
        raise Poisoned("an email hop does not say what the command asked", code="bad_hop")
    is_here = (
        partition_of(user_shard(hop["user_id"]), draft.state.partitions) == draft.state.partition
        if kind in _TO_HOME
        else draft.state.is_home_of(key)
    )
    if not is_here:
        raise Poisoned("an email hop stands on a strange partition", code="bad_hop")
    return key


def _reserve(draft: Draft, hop: EmailHop, key: str) -> None:
    """At the new address: reserve it, or say who has it."""
    holder_id = draft.holder_id(key)
    if not _may_reserve(holder_id, hop):
        _send_home(draft, {**hop, "kind": "refused", "holder_id": holder_id})
        return
    draft.put_claim(
        {
            "claim_id": hop["claim_id"],
            "email_key": key,
            "user_id": hop["user_id"],
            "status": RESERVED,
            "claimed_at": draft.now,
            "email": hop["email"],
            "command_offset": hop["command_offset"],
            "digest": hop["digest"],
            "expected_version": hop["expected_version"],
        }
    )
    _send_home(draft, {**hop, "kind": "granted"})


def _may_reserve(holder_id: str | None, hop: EmailHop) -> bool:
    """Return whether the address is free, or the user's own by another of its changes."""
    return holder_id in {None, hop["user_id"]}


def _send_home(draft: Draft, hop: EmailHop) -> None:
    home = partition_of(user_shard(hop["user_id"]), draft.state.partitions)
    draft.hops.append((home, {**hop, "sent_at": draft.now}))


def has_open_grants(state: PartitionState) -> bool:
    """Return whether an address of the partition is reserved."""
    claims = chain.from_iterable(state.claims.values())
    return any(claim["status"] == RESERVED for claim in claims)


def grants_to_send_again(draft: Draft) -> None:
    """After a restore: send every grant again that was not answered yet."""
    for claim in chain.from_iterable(draft.state.claims.values()):
        if claim["status"] == RESERVED:
            hop = draft.hop(
                "granted",
                claim["claim_id"],
                claim["user_id"],
                email=claim["email"],
                email_key=claim["email_key"],
                command_offset=claim["command_offset"],
                digest=claim["digest"],
                expected_version=claim["expected_version"],
                again=True,
            )
            _send_home(draft, hop)


def _answer(draft: Draft, hop: EmailHop, key: str) -> None:
    """At home: decide the command now, and answer the grant."""
    if not hop["again"]:
        _decide(draft, hop)
    if hop["kind"] == "granted":
        known = draft.held(hop["user_id"])
        holds = known is not None and known.user is not None and known.user["email_key"] == key
        draft.send(
            key,
            draft.hop(
                "keep" if holds else "release",
                hop["claim_id"],
                hop["user_id"],
                email_key=key,
                command_offset=hop["command_offset"],
            ),
        )


def _decide(draft: Draft, hop: EmailHop) -> None:
    asked = Asked(hop["claim_id"], hop["command_offset"] or 0, hop["digest"] or b"", hop["user_id"])
    first, known = draft.answer(hop["claim_id"]), draft.held(hop["user_id"])
    if first is not None:
        # Sent twice before the first was decided: its sender waits for an answer as well.
        if first["command_offset"] != asked.offset:
            repeat(draft, first, asked)
        return
    if known is not None and known.command_id == hop["claim_id"]:
        accept(draft, asked, known.version, seq=known.seq, repeated=True)
        return
    command = ChangeEmail(hop["user_id"], hop["email"] or "", hop["expected_version"])
    standing = draft.standing(hop["user_id"])
    try:
        holder_id = None if hop["kind"] == "granted" else hop["holder_id"]
        change = decide(standing, command, holder_id=holder_id, now=draft.now)
    except Rejected as error:
        reject(draft, asked, error)
        return
    version = standing.version
    if change is not None:
        version = draft.append_event(hop["user_id"], change, hop["claim_id"])
    accept(draft, asked, version)


def _keep(draft: Draft, hop: EmailHop, key: str) -> None:
    """At the new address: the user holds it now, by one claim."""
    claim = _open_claim(draft, hop, key)
    if claim is None:
        return
    if any(one["status"] == HELD for one in draft.claims_of(key)):
        draft.drop_claim(claim)
        return
    kept: EmailClaim = {**claim, "status": HELD, "email": None, "digest": None}
    draft.put_claim(kept)


def _release(draft: Draft, hop: EmailHop, key: str) -> None:
    """At the new address: this grant was not taken."""
    claim = _open_claim(draft, hop, key)
    if claim is not None:
        draft.drop_claim(claim)


def _open_claim(draft: Draft, hop: EmailHop, key: str) -> EmailClaim | None:
    """Return the claim that `hop` answers; None if it is answered already."""
    sending = (hop["user_id"], hop["command_offset"], RESERVED)
    for claim in draft.claims_of(key):
        if (claim["user_id"], claim["command_offset"], claim["status"]) == sending:
            return claim
    return None


def _free(draft: Draft, hop: EmailHop, key: str) -> None:
    """At the old address: the user who held it has left it, or is gone.

    It comes after the `keep` by which the user came to hold it, and before any later one.
    """
    for claim in draft.claims_of(key):
        if claim["user_id"] == hop["user_id"] and claim["status"] == HELD:
            draft.drop_claim(claim)
