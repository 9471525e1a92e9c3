"""Becomes a service's process, after a pause that grows while the service keeps failing.

The supervisor runs this file with the path of a specification:
`{"command": […], "environment": {…}, "directory": "…"}`. The supervisor alone either pauses between
starts or respects final exit codes, never both: an exit soon after the start is always tried again.
So it starts services at once, and the pause is here. `exec` keeps the process id: what the
supervisor shows is the service itself.
"""

import json
import os
import sys
import time
from pathlib import Path

LONGEST_PAUSE_SECONDS = 30.0
# A service that ran this long before it ended had started well: its next start is prompt.
_STEADY_SECONDS = 60.0


def pause_seconds(recent_starts: list[float], now: float) -> float:
    """Return how long to wait before the next start, given when the last ones were.

    Nothing for the first, then half a second, doubling with each start that was followed by another
    within a minute of running.
    """
    failures, later = 0, now
    for start in reversed(recent_starts):
        if later - start > _STEADY_SECONDS + LONGEST_PAUSE_SECONDS:
            break
        failures, later = failures + 1, start
    return min(0.5 * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS) if failures else 0.0


def main(specification: Path) -> None:
    """Wait if need be, then become the service."""
    spec = json.loads(specification.read_text(encoding="utf-8"))
    history = specification.with_suffix(".starts")
    starts = json.loads(history.read_text(encoding="utf-8")) if history.exists() else []
    pause = pause_seconds(starts, time.time())
    if pause:
        sys.stderr.write(f"paced: starting again in {pause:g} s\n")
        sys.stderr.flush()
        time.sleep(pause)
    history.write_text(json.dumps([*starts, time.time()][-10:]), encoding="utf-8")
    os.chdir(spec["directory"])
    os.execvpe(spec["command"][0], spec["command"], spec["environment"])  # noqa: S606 - no shell


if __name__ == "__main__":
    main(Path(sys.argv[1]))
