"""`rollbook bench all`: every part in a process of its own, one after the other."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import json_option, print_json, print_table, say
from runtime.settings import Settings
from schemas.errors import CheckFailed
from scripts.bench.options import without_peer_option
from scripts.bench.workload.processes import ROLLBOOK, environment_of

# What each part is called with, so that it takes a quarter of an hour at most; and so that it takes
# seconds. The parts with a peer can leave it out.
PARTS: Final[Mapping[str, Sequence[str]]] = {
    "commands": (),
    "clients": (),
    "projectors": ("--repeats=2",),  # three take 20 minutes
    "services": (),
    "sizes": (),
}
SHORT: Final[Mapping[str, Sequence[str]]] = {
    "commands": ("--users=300", "--state-users=2000", "--peer-seconds=0.1", "--repeats=1"),
    "clients": ("--clients=1", "--clients=8", "--seconds=0.5", "--repeats=1"),
    "projectors": ("--users=1000", "--queries-users=1000", "--repeats=1", "--only=rebuild"),
    "services": ("--users=300", "--clients=4", "--seconds=0.3", "--lines=200", "--repeats=1"),
    "sizes": ("--users=1000",),
}
WITH_PEER_OPTION: Final = frozenset({"commands", "clients", "services"})


@click.command("all")
@click.option("--short", is_flag=True, help="Seconds for each part: its figures mean nothing.")
@without_peer_option
@click.option(
    "--figures",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the output of each part to DIR/PART.json, as soon as it is there.",
)
@json_option
@pass_settings
def every_part(
    settings: Settings, *, short: bool, without_peer: bool, figures: Path | None, as_json: bool
) -> None:
    """Run every benchmark that needs one stack, each for at most a quarter of an hour.

    --json prints one object: what several parts have, such as `machine`, is under `runs` and the
    name of the part, and every other figure is at the top. Nothing else should run on the machine.

    \b
    Examples:
      rollbook bench all --figures docs/figures
      rollbook bench all --short --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    found: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    for number, (part, options) in enumerate((SHORT if short else PARTS).items(), start=1):
        say(f"{part}: part {number} of {len(PARTS)}")
        leave_out = ("--without-peer",) if without_peer and part in WITH_PEER_OPTION else ()
        began = time.monotonic()
        found[part] = _run(settings, part, [*options, *leave_out])
        seconds[part] = round(time.monotonic() - began, 1)
        if figures is not None:
            figures.mkdir(parents=True, exist_ok=True)
            text = json.dumps(found[part], ensure_ascii=False)
            (figures / f"{part}.json").write_text(f"{text}\n", encoding="utf-8")
    if as_json:
        print_json(merged(found, seconds))
    else:
        print_table(
            ["part", "seconds", "figures"],
            [(part, f"{seconds[part]:g}", f"{len(one)}") for part, one in found.items()],
        )


def _run(settings: Settings, part: str, options: Sequence[str]) -> dict[str, Any]:
    """Return what a part prints. Raises `CheckFailed` if it fails; its messages are on stderr."""
    command = [ROLLBOOK, "bench", part, *options, "--json"]
    done = subprocess.run(
        command, env=environment_of(settings), stdout=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        raise CheckFailed(f"`{' '.join(['rollbook', *command[1:]])}` ended with {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def merged(found: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return one object: the keys that several parts have are under `runs` and the part's name."""
    times = Counter(key for one in found.values() for key in one)
    runs = {
        part: {
            "seconds": seconds[part],
            **{key: value for key, value in one.items() if times[key] > 1},
        }
        for part, one in found.items()
    }
    figures = {
        key: value for one in found.values() for key, value in one.items() if times[key] == 1
    }
    return {"runs": runs, **figures}
