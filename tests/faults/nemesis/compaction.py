"""How far the broker has compacted the log, as it notes itself in its data directory."""

from pathlib import Path
from typing import Final

from runtime.settings import Settings
from scripts.stack.record import servers_data

_CHECKPOINT: Final = "cleaner-offset-checkpoint"
# Before the entries: the version of the file, and how many there are.
_HEAD_LINES: Final = 2


def compacted(stack: Path, settings: Settings) -> dict[tuple[str, int], int]:
    """Return by topic and partition of a registry the offset up to which it was compacted."""
    log = servers_data(stack) / "kafka" / "log"
    lines = (log / _CHECKPOINT).read_text("utf-8").splitlines()
    entries = (line.split() for line in lines[_HEAD_LINES:])
    own = settings.named("")
    return {
        (topic, int(number)): int(offset)
        for topic, number, offset in entries
        if topic.startswith(own)
    }
