"""The steps of a change of address that crosses partitions, each in one transaction.

```
 home ── reserve ─► new address's partition ── granted | refused ─► home
 home ── keep | release ─► new address's partition,  home ── free ─► old address's partition
```

Home keeps no pending state: a grant carries what the command asked, and is checked anew when it
comes. Every grant is answered, with `keep` if the user holds the address after it and `release` if
not, so that no address stays reserved for ever; a partition sends the grants that are still open
again after a restore. Hops between two partitions arrive in the order they were sent.
"""

from producers.aggregate import ChangeEmail, decide
from producers.decisions import Asked, accept, reject, repeat
from producers.draft import Draft
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
    carried = [hop["email"], hop["command_offset"], hop["digest"], hop["version"]]
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
    claim = draft.claim(key)
    holder_id = draft.holder_id(key)
    if claim is not None and _is_of(claim, hop):
        _send_home(draft, {**hop, "kind": "granted"})
        return
    if holder_id is not None:
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
            "version": hop["version"],
        }
    )
    _send_home(draft, {**hop, "kind": "granted"})


def _is_of(claim: EmailClaim, hop: EmailHop) -> bool:
    """Return whether the claim is this change's; another user's may have the same command id."""
    return claim["claim_id"] == hop["claim_id"] and claim["user_id"] == hop["user_id"]


def _send_home(draft: Draft, hop: EmailHop) -> None:
    home = partition_of(user_shard(hop["user_id"]), draft.state.partitions)
    draft.hops.append((home, {**hop, "sent_at": draft.now}))


def grants_to_send_again(draft: Draft) -> None:
    """After a restore: send every grant again that was not answered yet."""
    for claim in draft.state.claims.values():
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
                version=claim["version"],
                again=True,
            )
            _send_home(draft, hop)


def _answer(draft: Draft, hop: EmailHop, key: str) -> None:
    """At home: decide the command now, unless it is decided, and answer the grant."""
    granted = hop["kind"] == "granted"
    asked = Asked(hop["claim_id"], hop["command_offset"] or 0, hop["digest"] or b"", hop["user_id"])
    first, known = draft.answer(hop["claim_id"]), draft.held(hop["user_id"])
    if first is not None:
        # Sent twice before the first was decided: its sender waits for an answer as well.
        if first["command_offset"] != asked.offset and not hop["again"]:
            repeat(draft, first, asked)
    elif known is None or known.command_id != hop["claim_id"]:
        _decide(draft, hop, asked, granted=granted)
    elif not hop["again"]:
        accept(draft, asked, known.version, seq=known.seq, repeated=True)
    if granted:
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


def _decide(draft: Draft, hop: EmailHop, asked: Asked, *, granted: bool) -> None:
    command = ChangeEmail(hop["user_id"], hop["email"] or "", hop["expected_version"])
    standing = draft.standing(hop["user_id"])
    may_be_decided = asked.offset <= draft.state.window.forgotten_offset
    if may_be_decided and standing.version != hop["version"]:
        # That answer is forgotten: this very command may have made the version what it is, and
        # the address may since have been left and freed, so that the grant is worth nothing.
        stale = f"the user is at version {standing.version}, no longer {hop['version']}"
        reject(draft, asked, Rejected(stale, code="version_conflict"))
        return
    try:
        holder_id = None if granted else hop["holder_id"]
        change = decide(standing, command, holder_id=holder_id, now=draft.now)
    except Rejected as error:
        reject(draft, asked, error)
        return
    version = standing.version
    if change is not None:
        version = draft.append_event(hop["user_id"], change, hop["claim_id"])
    accept(draft, asked, version)


def _keep(draft: Draft, hop: EmailHop, key: str) -> None:
    """At the new address: the user holds it now."""
    claim = draft.claim(key)
    if claim is not None and _is_of(claim, hop) and claim["status"] == RESERVED:
        kept: EmailClaim = {**claim, "status": HELD, "email": None, "digest": None}
        draft.put_claim(kept)


def _free(draft: Draft, hop: EmailHop, key: str) -> None:
    """Free the address: by claim for a grant that is not taken, by user for one that was held.

    A `free` comes after the `reserve`, `keep` and `free` that its user sent before, and before any
    later one, so the user's claim is the one that is meant.
    """
    claim = draft.claim(key)
    if claim is None:
        return
    # By its sending, not its id alone: that may be used again when its answer is forgotten.
    sending = (claim["claim_id"], claim["command_offset"])
    if hop["kind"] == "release" and sending != (hop["claim_id"], hop["command_offset"]):
        return
    if claim["user_id"] == hop["user_id"]:
        draft.drop_claim(claim)
