"""The commands `rollbook stack …` (the servers) and `rollbook up`, `down`, `status` (all of it)."""

import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import click

from runtime.terminal import json_option, print_json, print_table, say
from schemas.errors import Misconfigured
from scripts.stack.bring_up import bring_up, choose_mode
from scripts.stack.docker import DockerStack
from scripts.stack.local import LocalStack
from scripts.stack.places import named_directory
from scripts.stack.record import ProcessStatus, read_record
from scripts.stack.show import all_run, exit_code, print_processes, print_started, status_record

_LINES_SHOWN = "200"


def name_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--name`."""
    explanation = "Which stack; several run side by side (default: ROLLBOOK_STACK, else default)."
    return click.option("--name", metavar="NAME", help=explanation)(command)


def up_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what `stack up` and `up` share."""
    for decorate in (
        click.option("--native", "mode", flag_value="native", help="Run servers as processes."),
        click.option("--docker", "mode", flag_value="docker", help="Run servers in containers."),
        name_option,
        click.option("--free-ports", is_flag=True, help="Let every server use any free port."),
        click.option(
            "--port",
            "ports",
            metavar="SERVER=N",
            multiple=True,
            callback=lambda _context, _option, given: parse_ports(given),
            help="Port of one server: kafka, registry, postgres, elasticsearch, … May be repeated.",
        ),
        json_option,
    ):
        command = decorate(command)
    return command


def parse_ports(given: Iterable[str]) -> dict[str, int]:
    """Return `SERVER=N …` as a mapping. Raises `Misconfigured` for anything else."""
    ports = {}
    for text in given:
        server, _, number = text.partition("=")
        if not (number.isascii() and number.isdigit() and 0 < int(number) < 65_536):  # noqa: PLR2004
            raise Misconfigured(
                f"--port {text} is not SERVER=N with a port number",
                code="bad_port",
                next_step="for example --port kafka=29092",
            )
        ports[server] = int(number)
    return ports


@click.group()
def stack() -> None:
    """Start and stop the local servers."""


@stack.command("up")
@up_options
def stack_up(
    *, mode: str | None, name: str | None, free_ports: bool, ports: dict[str, int], as_json: bool
) -> None:
    """Start Kafka, the registry, PostgreSQL and Elasticsearch; wait until all of them answer.

    Harmless if they run already; starts the one that died. The first time it fetches the servers.

    \b
    Examples:
      rollbook stack up
      rollbook stack up --name other --free-ports
      rollbook stack up --port kafka=29092
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    chosen = choose_mode(name, mode)
    started = bring_up(chosen, name, ports, free_ports=free_ports, whole_system=False)
    print_started(chosen, name, started, as_json=as_json)


@stack.command("down")
@name_option
@click.option("--wipe", is_flag=True, help="Delete the data, logs and configuration as well.")
def stack_down(*, name: str | None, wipe: bool) -> None:
    """Stop exactly what `up` started, and wait until it ended. Downloads are kept.

    \b
    Examples:
      rollbook stack down
      rollbook stack down --name other --wipe
    """  # noqa: D301
    record = read_record(named_directory(name))
    if record and record.mode == "docker":
        ran = DockerStack(name).down(wipe=wipe)
    else:
        ran = LocalStack(name).down(wipe=wipe)
    label = named_directory(name).name
    say(f"stack {label} is down" if ran else f"stack {label} was not running")
    if wipe:
        say("its data is deleted")


@stack.command("status")
@name_option
@json_option
def stack_status(*, name: str | None, as_json: bool) -> int:
    """Show each server and service: state, process, uptime, port and log. Exit 5 if one is away.

    \b
    Example:
      rollbook stack status --json
    """  # noqa: D301
    mode, processes = _processes(name)
    if as_json:
        print_json(status_record(name, mode, processes))
    else:
        print_processes(name, mode, processes)
    return exit_code(processes)


@stack.command("logs")
@click.argument("server", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@name_option
def stack_logs(*, server: str | None, follow: bool, name: str | None) -> None:
    """Show the last lines of the log of SERVER, or of all servers and services.

    \b
    Examples:
      rollbook stack logs kafka
      rollbook stack logs handler --follow
    """  # noqa: D301
    record = read_record(named_directory(name))
    if record and record.mode == "docker":
        DockerStack(name).logs(server, follow=follow)
        return
    folder = LocalStack(name).supervisor.logs
    paths = [folder / f"{server}.log"] if server else sorted(folder.glob("*.log"))
    if not paths or not paths[0].is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.log"))) or "none"
        raise Misconfigured(
            f"there is no log {server or ''} in {folder}",
            code="no_log",
            next_step=f"the logs there are: {known}",
        )
    command = ["tail", "-n", _LINES_SHOWN, *(["-F"] if follow else []), *map(str, paths)]
    subprocess.run(command, check=False)


@click.command()
@up_options
def up(
    *, mode: str | None, name: str | None, free_ports: bool, ports: dict[str, int], as_json: bool
) -> None:
    """Start everything: servers, topics, command handler and projectors.

    Harmless if it runs already. Services get this shell's ROLLBOOK_* variables, and start again
    when they end.

    \b
    Examples:
      rollbook up
      ROLLBOOK_PREFIX=trial rollbook up --name trial --free-ports
    """  # noqa: D301
    from scripts.stack.system import start_services

    chosen = choose_mode(name, mode)
    started = bring_up(chosen, name, ports, free_ports=free_ports, whole_system=True)
    if chosen == "native":
        start_services(LocalStack(name), say)
    print_started(chosen, name, started, as_json=as_json)


@click.command()
@name_option
@click.option("--wipe", is_flag=True, help="Delete the data, logs and configuration as well.")
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
    """Show what runs and how far each read model has come. Exit 5 if something is away.

    \b
    Examples:
      rollbook status
      rollbook status --json
    """  # noqa: D301
    from scripts.stack.system import projector_status

    mode, processes = _processes(name)
    projectors, problem = projector_status(LocalStack(name)) if all_run(processes) else ([], "")
    if as_json:
        print_json(status_record(name, mode, processes) | {"projectors": projectors})
    else:
        print_processes(name, mode, processes)
        if projectors:
            click.echo()
            columns = list(projectors[0])
            print_table(columns, ([row.get(c) for c in columns] for row in projectors))
    if problem:
        say(f"projectors: {problem}")
    return exit_code(processes)


def _processes(name: str | None) -> tuple[str, list[ProcessStatus]]:
    record = read_record(named_directory(name))
    if record and record.mode == "docker":
        return "docker", DockerStack(name).status()
    return "native", LocalStack(name).status()
