"""The commands `rollbook topics` and `rollbook config`."""

from dataclasses import fields

import click

from runtime.command_line.context import pass_settings, root
from runtime.command_line.terminal import json_option, print_json, print_table, say
from runtime.settings import Settings, load_settings
from schemas.errors import CheckFailed


@click.group()
def topics() -> None:
    """Create and check the Kafka topics and schemas."""


@topics.command()
@json_option
@pass_settings
def ensure(settings: Settings, *, as_json: bool) -> None:
    """Create missing topics and schemas; report what differs. Changes nothing that exists.

    Ends with 1 if a topic differs from its definition, and names the command that fixes it.

    \b
    Example:
      rollbook topics ensure
    """  # noqa: D301 - \b tells click not to rewrap
    from runtime.kafka.registry import Registry
    from runtime.topics.admin import ensure_topics
    from runtime.topics.drift import fix_command

    reports = ensure_topics(settings)
    Registry(settings).ensure()
    rows = []
    for report in reports:
        if as_json:
            print_json(
                {
                    "topic": report.name,
                    "partitions": report.partitions,
                    "created": report.created,
                    "drift": {
                        option: {"wanted": wanted, "found": found}
                        for option, (wanted, found) in report.drift.items()
                    },
                }
            )
        state = "created" if report.created else "drifted" if report.drift else "as defined"
        rows.append((report.name, report.partitions, state, report.purpose))
        for line in report.differences():
            say(f"drift: {line}")
    if not as_json:
        print_table(["topic", "partitions", "state", "purpose"], rows)
    drifted = [report for report in reports if report.drift]
    for report in drifted[1:]:
        say(f"fix: {fix_command(report, settings)}")
    if drifted:
        raise CheckFailed(
            f"{len(drifted)} topics differ from their definition",
            code="topic_drift",
            next_step=fix_command(drifted[0], settings),
        )


@click.group()
def config() -> None:
    """Show the settings and where they come from."""


@config.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show each setting, its value and its origin: environment, file or default.

    Set one with ROLLBOOK_NAME in the environment or `name = value` in the TOML file.

    \b
    Example:
      rollbook config show
    """  # noqa: D301 - \b tells click not to rewrap
    loaded = load_settings(config=root().config)
    rows = []
    for spec in fields(Settings):
        value = getattr(loaded.settings, spec.name)
        if spec.metadata["secret"]:
            value = "(set)" if value else ""
        rows.append((spec.name, value, loaded.origins[spec.name], spec.metadata["explanation"]))
    columns = ["setting", "value", "origin", "explanation"]
    if as_json:
        for row in rows:
            print_json(dict(zip(columns, row, strict=True)))
    else:
        print_table(columns, rows)
