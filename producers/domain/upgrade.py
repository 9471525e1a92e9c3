"""Raises the format of a partition: the one command that is about a partition and not about a user.

An older handler answers it as a command of an unknown kind. So `rollbook upgrade finalise` can ask
every partition whether its handler knows the format, before it raises any of them.
"""

from typing import NamedTuple

from producers.domain.aggregate import UserId
from producers.domain.answers import CommandRef, accept, reject
from producers.domain.overlay import Overlay
from schemas.errors import Rejected
from schemas.formats import LATEST_FORMAT, mark_key


class UpgradeCommand(NamedTuple):
    """Have the partition of `mark_id` written in `format`; with `only_check` ask if it could be."""

    mark_id: UserId
    format: int
    issued_by: str | None
    only_check: bool


def decide_upgrade(overlay: Overlay, ref: CommandRef, command: UpgradeCommand) -> None:
    """Answer with the partition's format as the version; raise the format, never lower it.

    Idempotent: a partition that has the format already is answered, and nothing is written. A check
    is rejected as `only_checked` if the format could be raised: it changes nothing.
    """
    try:
        _require_possible(overlay, command)
    except Rejected as error:
        reject(overlay, ref, error, version=overlay.format)
        return
    if command.format > overlay.format:
        overlay.raise_format(command.format, command.issued_by)
    accept(overlay, ref.for_user(command.mark_id.text), overlay.format)


def _require_possible(overlay: Overlay, command: UpgradeCommand) -> None:
    """Raise `Rejected` unless the command is to be carried out."""
    if not overlay.state.owns(command.mark_id.shard):
        raise Rejected(
            "the command is on a partition that is not its mark's", code="wrong_partition"
        )
    if command.mark_id.text != mark_key(overlay.state.partition, overlay.state.partitions):
        raise Rejected("the id is not that of a partition's mark", code="invalid_command")
    if command.format > LATEST_FORMAT:
        raise Rejected(
            f"the partition's handler knows formats up to {LATEST_FORMAT}", code="unknown_format"
        )
    if command.only_check:
        raise Rejected("the format could be raised; nothing was changed", code="only_checked")
