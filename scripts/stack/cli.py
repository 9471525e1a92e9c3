"""The commands `rollbook stack …` for the servers, and `rollbook up`, `down`, `status` for all."""

import subprocess
from dataclasses import asdict
from typing import Any

import click

from runtime.command_line.terminal import (
    EXIT_UNAVAILABLE,
    json_option,
    print_json,
    print_table,
    say,
)
from schemas.errors import Misconfigured
from scripts.serve import TABLE
from scripts.stack.access import is_secure
from scripts.stack.docker import DockerStack
from scripts.stack.native.local import LocalStack
from scripts.stack.options import down_options, name_option, up_options
from scripts.stack.places import SECURE_PORTS, named_directory
from scripts.stack.record import (
    ProcessStatus,
    Started,
    address,
    duration,
    key_file,
    metrics_url,
    read_record,
)
from scripts.stack.system import bring_up, choose_mode

_LINES_SHOWN = "200"


@click.group()
def stack() -> None:
    """Start and stop the local servers."""


@stack.command("up")
@up_options
def stack_up(**options: Any) -> None:
    """Start Kafka, the registry, PostgreSQL and Elasticsearch; wait until all of them answer.

    Servers that are running are left alone. The first run downloads the servers.

    \b
    Examples:
      rollbook stack up
      rollbook stack up --name other --free-ports
      rollbook stack up --port kafka=29092
    """  # noqa: D301 - \b tells click not to rewrap
    _up(**options, whole_system=False)


@stack.command("down")
@down_options
def stack_down(*, name: str | None, wipe: bool) -> None:
    """Stop everything that `up` started, and wait until it has ended. Downloads are kept.

    \b
    Examples:
      rollbook stack down
      rollbook stack down --name other --wipe
    """  # noqa: D301
    ran = _stack(name).down(wipe=wipe)
    label = named_directory(name).name
    say(f"stack {label} is down" if ran else f"stack {label} was not running")
    if wipe:
        say("its data is deleted")


@stack.command("status")
@name_option
@json_option
def stack_status(*, name: str | None, as_json: bool) -> int:
    """Show each server and service: state, process, uptime, port. Exits with 5 if one is down.

    \b
    Example:
      rollbook stack status --json
    """  # noqa: D301
    processes = _stack(name).status()
    _print_status(name, processes, as_json=as_json)
    return _exit_code(processes)


@stack.command("logs")
@click.argument("server", required=False)
@click.option("--follow", "-f", is_flag=True, help="Show new lines until interrupted.")
@name_option
def stack_logs(*, server: str | None, follow: bool, name: str | None) -> None:
    """Show the last lines of the log of SERVER, or of all servers and services.

    \b
    Examples:
      rollbook stack logs kafka
      rollbook stack logs handler --follow
    """  # noqa: D301
    if _mode(name) == "docker":
        DockerStack(name).logs(server, follow=follow)
        return
    folder = LocalStack(name).supervisor.logs
    paths = [folder / f"{server}.log"] if server else sorted(folder.glob("*.log"))
    if not paths or not paths[0].is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.log")))
        raise Misconfigured(
            f"there is no log of {server or 'anything'} in {folder}",
            code="no_log",
            next_step=f"the existing logs: {known}" if known else "`rollbook up` starts the stack",
        )
    command = ["tail", "-n", _LINES_SHOWN, *(["-F"] if follow else []), *map(str, paths)]
    subprocess.run(command, check=False)


@click.command()
@up_options
def up(**options: Any) -> None:
    """Start everything: servers, handler, projectors, services over HTTP and the console.

    Has no effect on what runs already. Services get this shell's ROLLBOOK_* variables, and are
    restarted when they end.

    \b
    Examples:
      rollbook up
      ROLLBOOK_PREFIX=trial rollbook up --name trial --free-ports
    """  # noqa: D301
    _up(**options, whole_system=True)


@click.command()
@down_options
@click.pass_context
def down(context: click.Context, *, name: str | None, wipe: bool) -> None:
    """Stop everything that `up` started: services first, then servers.

    \b
    Examples:
      rollbook down
      rollbook down --wipe
    """  # noqa: D301
    context.invoke(stack_down, name=name, wipe=wipe)


@click.command()
@name_option
@json_option
def status(*, name: str | None, as_json: bool) -> int:
    """Show what runs and the lag of each read model. Exit 5 if something does not run.

    \b
    Examples:
      rollbook status
      rollbook status --json
    """  # noqa: D301
    from projectors.cli.projector import print_versions
    from scripts.stack.system import projector_status

    processes = _stack(name).status()
    found, problem = projector_status(LocalStack(name)) if _all_run(processes) else (None, "")
    _print_status(name, processes, found.as_rows() if found else [], as_json=as_json)
    if found and not as_json:
        click.echo()
        print_versions(found.by_version())
    if problem:
        say(f"projectors: {problem}")
    return _exit_code(processes)


def _up(
    *, mode: str | None, name: str | None, as_json: bool, whole_system: bool, **options: Any
) -> None:
    chosen = choose_mode(name, mode)
    started = bring_up(chosen, name, whole_system=whole_system, **options)
    _print_started(chosen, name, started, as_json=as_json, whole_system=whole_system)


def _mode(name: str | None) -> str:
    record = read_record(named_directory(name))
    return record.mode if record else "native"


def _stack(name: str | None) -> DockerStack | LocalStack:
    return DockerStack(name) if _mode(name) == "docker" else LocalStack(name)


def _print_started(
    mode: str, name: str | None, started: Started, *, as_json: bool, whole_system: bool
) -> None:
    directory = named_directory(name)
    config = directory / "rollbook.toml"
    if as_json:
        stack = {"stack": directory.name, "mode": mode, "config": str(config)}
        print_json(stack | asdict(started))
        return
    if started.was_running:
        what = f"started {', '.join(started.started)}" if started.started else "nothing to do"
        say(f"stack {directory.name} was up already: {what}")
    else:
        say(f"stack {directory.name} is up ({mode}) after {started.seconds:.0f} s")
    names = [name for name in started.ports if whole_system or name not in {*TABLE, *SECURE_PORTS}]
    secure = is_secure(directory)
    rows = ((name, address(name, started.ports[name], secure=secure)) for name in names)
    print_table(["name", "address"], rows)
    say(f"settings: {config}")
    if (mode == "docker" or secure) and whole_system:
        say(f"key of the services: {key_file(directory)}")


def _print_status(
    name: str | None,
    processes: list[ProcessStatus],
    projectors: list[dict[str, Any]] | None = None,
    *,
    as_json: bool,
) -> None:
    """Print a line for each server and service; with JSON, one object that has `projectors` too."""
    label, mode = named_directory(name).name, _mode(name)
    if as_json:
        found = {"stack": label, "mode": mode, "processes": [asdict(one) for one in processes]}
        print_json(found if projectors is None else found | {"projectors": projectors})
        return
    say(f"stack {label} ({mode}), logs: `rollbook stack logs NAME`")
    columns = ["name", "kind", "state", "pid", "uptime", "address"]
    secure = is_secure(named_directory(name))
    observed = any(p.metrics_port for p in processes)
    rows = (
        (
            *(p.name, p.kind, p.state, p.pid),
            *(duration(p.uptime_seconds), address(p.name, p.port, secure=secure)),
            *([metrics_url(p.metrics_port)] if observed else []),
        )
        for p in processes
    )
    if observed:
        columns.append("metrics")
    print_table(columns, rows)
    if not _all_run(processes):
        say("not everything is running: `rollbook up` starts what is missing")


def _all_run(processes: list[ProcessStatus]) -> bool:
    # A container with a single task is `done`.
    return bool(processes) and all(process.state in {"running", "done"} for process in processes)


def _exit_code(processes: list[ProcessStatus]) -> int:
    return 0 if _all_run(processes) else EXIT_UNAVAILABLE
