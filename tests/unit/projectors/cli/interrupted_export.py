"""Interrupts an export before each of its lines: `python -m … DIRECTORY` prints what came of it.

In a process of its own: raising from a trace function can leave Python with an exception that it
takes for the one being handled.
"""

import gzip
import json
import sys
from itertools import count
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from projectors.cli.export_file import write_export

if TYPE_CHECKING:
    from _typeshed import TraceFunction

_LINE = b"new\n"


def _is_interrupted_at(step: int, target: Path) -> bool:
    """Export to `target` with Ctrl-C before the line number `step`; return whether it came."""
    steps = count(1)

    def trace(_frame: FrameType, event: str, _argument: object) -> "TraceFunction":
        if event in ("line", "return") and next(steps) == step:
            # Otherwise a handler of the interrupt would be traced as well.
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        write_export(str(target), [_LINE], as_gzip=True)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def main(directory: Path) -> None:
    """Interrupt it before one line after the other, until it ends before the interrupt."""
    ways, flaws = set(), []
    for step in count(1):
        folder = directory / f"{step}"
        folder.mkdir()
        is_interrupted = _is_interrupted_at(step, folder / "people")
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
        if left and (set(left) != {"people"} or gzip.decompress(left["people"]) != _LINE):
            flaws.append(f"line {step}: {sorted(left)}")
        ways.add((is_interrupted, bool(left)))
        if not is_interrupted:
            break
    interrupted = [has_file for is_interrupted, has_file in ways if is_interrupted]
    whole = (False, True) in ways
    json.dump({"interrupted": len(interrupted), "whole": int(whole), "flaws": flaws}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
