"""Runs background processes as users do, where their own memory or start-up time is measured."""

from dataclasses import dataclass

from tests.started.processes import ROLLBOOK, Rollbook, RunningProcess


@dataclass
class ExecutedRollbook(Rollbook):
    """Executes the installed command instead of forking the tests' process, which has imported it.

    `wrapper` is a program with arguments that runs, in its place, whatever follows the log.
    """

    wrapper: tuple[str, ...] = ()

    def start(self, *arguments: str) -> RunningProcess:
        """Start a command in the background; it is stopped when the test ends."""
        if self.wrapper and arguments[1] == "run":
            return self.start_program(*self.wrapper, *arguments)
        return self.start_program(ROLLBOOK, *arguments)
