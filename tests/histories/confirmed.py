"""Asks Porcupine, which others trust, whether the history of an address is linearizable.

`tests/histories/porcupine` is a small Go program around it, with the model written a second time.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.histories.linearizable import Operation

Register = tuple[Sequence[Operation], Callable[[Operation], bool]]
_PROGRAM: Final = Path(__file__).with_name("porcupine")


def build_porcupine(program: Path) -> None:
    """Build the program; Go must be installed. The first time, Go loads Porcupine."""
    command = ["go", "build", "-o", str(program), "."]
    subprocess.run(command, cwd=_PROGRAM, check=True)


def porcupine_verdicts(program: Path, registers: Sequence[Register]) -> list[str]:
    """Return for each address `ok`, `illegal`, or `unknown` if the search took too long."""
    lines = "".join(f"{json.dumps(list(_plain(*one)))}\n" for one in registers)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return done.stdout.split()


def _plain(
    operations: Sequence[Operation], is_reserved: Callable[[Operation], bool]
) -> Iterator[dict[str, Any]]:
    """Yield operations with whole numbers as times, which keep their order."""
    times = {time for one in operations for time in (one.began, one.ended)}
    ranks = {time: rank for rank, time in enumerate(sorted(times))}
    for one in operations:
        yield {
            "kind": one.kind,
            "user": one.user_id,
            "began": ranks[one.began],
            "ended": ranks[one.ended],
            "order": one.order,
            "optional": one.optional,
            "reserved": one.kind == "seen" and is_reserved(one),
        }
