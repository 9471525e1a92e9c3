"""Errors that the versions of every read model raise, with the same text for all stores."""

from collections.abc import Collection, Sequence
from typing import Final

from projectors.contract.read_model import READY, Dropped, Version
from schemas.errors import Misconfigured, Rejected, Unavailable

OTHER_SHAPE: Final = "other_shape"


def ready_and_live(
    name: str, versions: Sequence[Version], number: int
) -> tuple[Version, Version | None]:
    """Return version `number`, which is to go live, and the version that is live, if any.

    Raises `Rejected` (`version_not_ready`).
    """
    ready = next((each for each in versions if (each.number, each.state) == (number, READY)), None)
    if ready is None:
        raise Rejected(f"{name} has no ready version {number}", code="version_not_ready")
    return ready, next((each for each in versions if each.live), None)


def version_not_found(name: str, number: int) -> Rejected:
    """Return the error for a version that is not listed."""
    return Rejected(
        f"there is no version {number} of {name}",
        code="version_not_found",
        next_step=f"`rollbook projector versions {name}` lists the versions",
    )


def version_is_live(name: str, number: int) -> Rejected:
    """Return the refusal to drop the live version."""
    return Rejected(
        f"version {number} of {name} is live",
        code="version_is_live",
        next_step=f"make another version live with `rollbook projector swap {name} VERSION`",
    )


def version_not_built(name: str, number: int) -> Rejected:
    """Return the error for a version that is not ready."""
    return Rejected(
        f"version {number} of {name} is not completely built",
        code="version_not_ready",
        next_step=f"`rollbook projector rebuild {name}` builds one",
    )


def version_paused(name: str, number: int) -> Rejected:
    """Return the refusal to make a version live that no projector keeps up to date."""
    return Rejected(
        f"version {number} of {name} is paused, so it does not catch up with the log",
        code="version_paused",
        next_step=f"`rollbook projector resume {name} --version {number}` first",
    )


def version_dropped(name: str, number: int) -> Dropped:
    """Return the error for a version that no longer exists."""
    return Dropped(f"version {number} of {name} was dropped")


def tables_missing(name: str, number: int) -> Unavailable:
    """Return the error for a version that is listed, but whose tables were removed by hand."""
    return Unavailable(
        f"the tables of version {number} of {name} are missing: restore them, or run "
        f"`rollbook projector rebuild {name}` and swap to the new version",
        code="tables_missing",
    )


def check_filled(name: str, number: int, stored: Collection[str], filled: Collection[str]) -> None:
    """Raise `Misconfigured` (`other_shape`) unless this rollbook fills every stored field."""
    unknown = set(stored) - set(filled)
    if unknown:
        raise Misconfigured(
            f"version {number} of {name} has fields that this rollbook cannot fill: "
            f"{', '.join(sorted(unknown))}",
            code=OTHER_SHAPE,
            next_step="a newer rollbook created it: run that one, or swap to an older version",
        )


def check_format(store: str, *, required: int, known: int) -> None:
    """Raise `Misconfigured` (`newer_bookkeeping`) if `store` requires a format we do not know."""
    if required > known:
        raise Misconfigured(
            f"{store} has been changed by a later rollbook: using it requires format {required} of "
            f"its bookkeeping, and this rollbook knows format {known}",
            code="newer_bookkeeping",
            next_step="run the rollbook that changed it, or a later one (docs/upgrading.md)",
        )
