"""What the partitions of a handler measure; `producers.handler.metrics` records it."""

from typing import Final

from schemas.errors import Forbidden, Unavailable

# The part of a handler that restores, which can fail by itself.
RESTORE: Final = "restore"


class PartitionMeter:
    """Discards what partitions measure."""

    def lacks(self, failure: Unavailable | Forbidden, part: str) -> None:
        """Note that a part waits because of `failure`."""

    def works(self, part: str) -> None:
        """Note that a part can continue."""

    def cannot_read(self, failure: Unavailable | Forbidden) -> None:
        """Note why nothing is read; nobody notes that it is possible again."""

    def was_dropped(self) -> None:
        """Note that the group has dropped this member, which now joins again."""

    def restored(self, seconds: float) -> None:
        """Note that a partition was restored, and how long that took."""
