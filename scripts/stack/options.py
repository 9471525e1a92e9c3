"""Options that several commands for stacks have."""

from collections.abc import Callable
from typing import Any

import click

from runtime.command_line.terminal import json_option
from scripts.stack.brokers import SEVERAL
from scripts.stack.places import parse_ports


def name_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--name`."""
    explanation = (
        "Which stack; several can run side by side. Default: the value of ROLLBOOK_STACK, or else "
        "the stack called default."
    )
    return click.option("--name", metavar="NAME", help=explanation)(command)


def up_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `stack up` and `up` share."""
    for decorate in (
        click.option("--native", "mode", flag_value="native", help="Run servers as processes."),
        click.option("--docker", "mode", flag_value="docker", help="Run servers in containers."),
        name_option,
        click.option(
            "--secure",
            is_flag=True,
            help="Have the servers demand TLS and logins, one for each role. Kept by later starts.",
        ),
        click.option(
            "--brokers",
            type=click.Choice([1, SEVERAL]),
            help="Of a new native stack: with 3, each topic has three copies. Default: 1.",
        ),
        click.option("--free-ports", is_flag=True, help="Use any free port for every server."),
        click.option(
            "--observe",
            "observed",
            is_flag=True,
            help="Start Prometheus with our alert rules as well; in containers, Grafana too.",
        ),
        click.option(
            "--port",
            "ports",
            metavar="SERVER=N",
            multiple=True,
            callback=lambda _context, _option, given: parse_ports(given),
            help="Port of a server: kafka, registry, postgres, elasticsearch, … May be repeated.",
        ),
        json_option,
    ):
        command = decorate(command)
    return command


def down_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `stack down` and `down` share."""
    wipe = click.option(
        "--wipe", is_flag=True, help="Delete the data, logs and configuration as well."
    )
    return name_option(wipe(command))
