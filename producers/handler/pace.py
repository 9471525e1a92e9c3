"""How many commands go into one transaction: one when idle, as many as its time allows under load.

A large transaction is cheap a command but answers its first command only with its last, and one
that took longer than the broker's transaction timeout would never end.
"""

_LEAST_COMMANDS = 100


class Pace:
    """Grows and shrinks the next batch so that it takes about `batch_seconds` to commit.

    Never more than `most_commands`; starts small, on a machine whose speed is not known.
    """

    def __init__(self, most_commands: int, batch_seconds: float) -> None:
        self._most_commands = most_commands
        self._batch_seconds = batch_seconds
        self.most = min(_LEAST_COMMANDS, most_commands)

    def committed(self, commands: int, seconds: float) -> None:
        """Learn from a batch. One that was not full says nothing: there was no more to take."""
        if commands < self.most:
            return
        fits = int(commands * self._batch_seconds / max(seconds, 1e-6))
        # Not more than four times as much at once: what a commit costs is not what a command does.
        self.most = max(
            min(fits, 4 * self.most, self._most_commands), min(_LEAST_COMMANDS, self._most_commands)
        )
