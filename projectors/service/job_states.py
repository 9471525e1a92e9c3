"""The states of a job, which jobs have and the answers about them name."""

from typing import Final

RUNNING: Final = "running"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
STOPPED: Final = "stopped"
STATES: Final = (RUNNING, SUCCEEDED, FAILED, STOPPED)
