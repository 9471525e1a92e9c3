"""The handler's answers to commands (outcomes), and which of them a repeated command gets."""

from hashlib import blake2b
from typing import NamedTuple

from producers.domain.overlay import Overlay
from schemas.errors import Rejected
from schemas.identity import uuid_bytes
from schemas.records import ACCEPTED, REJECTED, CommandOutcome, UserCommand


class CommandRef(NamedTuple):
    """The command that an outcome answers, and the user it is about, if it names one."""

    command_id: str
    offset: int
    digest: bytes
    user_id: str | None

    def for_user(self, user_id: str | None) -> "CommandRef":
        """Return the same command about this user; `_replace` takes three times as long."""
        return CommandRef(self.command_id, self.offset, self.digest, user_id)


# Copying an object takes half the time of making one.
_DIGEST = blake2b(digest_size=8)


def body_digest(record: UserCommand) -> bytes:
    """Return 8 bytes over the body of `record`: the same id with another body is refused.

    The log keeps them, so they never change: they are over the `repr` of a tuple of the fields.
    """
    field = record.get
    body = (
        f"({record['kind']!r}, {field('user_id')!r}, {field('email')!r}, {field('name')!r}, "
        f"{field('age')!r}, {field('expected_version')!r})"
    )
    digest = _DIGEST.copy()
    digest.update(body.encode())  # `repr` has escaped lone surrogates
    return digest.digest()


def accept(
    overlay: Overlay,
    ref: CommandRef,
    version: int,
    *,
    seq: int | None = None,
    repeated: bool = False,
) -> None:
    """Append an acceptance; `repeated` if the user itself records that the command took effect."""
    outcome = _outcome(overlay, ref, ACCEPTED, ref.user_id, version)
    outcome["seq"] = overlay.seq if seq is None else seq
    outcome["repeated"] = repeated
    overlay.append_outcome(outcome)


def reject(
    overlay: Overlay, ref: CommandRef, error: Rejected, *, version: int | None = None
) -> None:
    """Append a rejection: its code, and `version`, by default that of the user if there is one."""
    version = version or _version_of(overlay, ref.user_id)
    user_id = error.user_id or (ref.user_id if version else None)
    outcome = _outcome(overlay, ref, REJECTED, user_id, version)
    outcome["code"], outcome["message"] = error.code, str(error)
    overlay.append_outcome(outcome)


def _version_of(overlay: Overlay, user_id: str | None) -> int | None:
    """Return the version of the user that a command names; None if the id is unknown or invalid."""
    try:
        known = overlay.user(uuid_bytes(user_id)) if user_id else None
    except ValueError:
        return None
    return known.version if known else None


def repeat(overlay: Overlay, first: CommandOutcome, ref: CommandRef) -> None:
    """Append the first answer again, or a refusal if the command has another body now."""
    if first["digest"] != ref.digest:
        reject_reused(overlay, ref)
        return
    again: CommandOutcome = {
        **first,
        "command_offset": ref.offset,
        "decided_at": overlay.now,
        "repeated": True,
    }
    overlay.append_outcome(again)


def reject_reused(overlay: Overlay, ref: CommandRef) -> None:
    """Append a rejection of a command whose id was used for one with another body."""
    reused = Rejected("this command id was used for another command", code="command_id_reused")
    reject(overlay, ref.for_user(None), reused)


def _outcome(
    overlay: Overlay, ref: CommandRef, status: str, user_id: str | None, version: int | None
) -> CommandOutcome:
    return {
        "command_id": ref.command_id,
        "command_offset": ref.offset,
        "decided_at": overlay.now,
        "digest": ref.digest,
        "status": status,
        "user_id": user_id,
        "version": version,
        "seq": overlay.seq,
        "code": None,
        "message": None,
        "repeated": False,
    }
