"""`rollbook demo`: all of rollbook on real servers, explained step by step.

Every step calls `rollbook` itself and shows the command line, which can be pasted afterwards.
Nothing waits for a fixed time: a step that needs the read models waits until they have applied
every event.
"""

import os
import re
import shlex
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from projectors.contract.read_model import Version
from runtime.command_line import extras
from runtime.configuration.files import stack_directory
from runtime.settings import Settings, load_settings
from schemas.errors import CheckFailed, NotInTime
from scripts.narrator import Narrator, call_as
from scripts.people import write_people
from scripts.stack.record import address, key_file, read_record
from scripts.verify.checks.stores import Summary, digest, recomputed

PEOPLE = 20_000
# Measured with the native stack on 2 cores: resident memory of servers and services, and the
# duration with the servers in the cache, and without them on a fast line.
MEMORY_GIGABYTES = 3
MINUTES_WARM = 1
MINUTES_COLD = 3
_CAUGHT_UP_SECONDS = 180.0
_POLL_SECONDS = 0.25
_REFUSED = 3
_STARTED = datetime.now(UTC)


class Content(NamedTuple):
    """The content of a read model, in a form that can be compared and printed."""

    digest: str
    summary: Summary


@click.command()
def demo() -> None:
    """Show all of rollbook on real servers, and leave it running.

    Starts everything; creates, changes and erases users; imports 20,000 and searches them; and
    rebuilds the users in PostgreSQL and Elasticsearch from the log while queries are answered. It
    can be run repeatedly. It first prints how much memory, disk space and time it needs.

    \b
    Example:
      rollbook demo
    """  # noqa: D301 - \b tells click not to rewrap
    extras.require_local("the demo")
    started = time.monotonic()
    program = Path(sys.executable).with_name("rollbook")
    narrator = Narrator(str(program), call_as(program))
    _print_requirements(narrator)
    narrator.explain("Start everything: servers, handler, projectors, services, console.")
    narrator.run("up")
    settings = load_settings().settings
    user_id = _create_and_update(narrator)
    address = _change_and_erase(narrator, settings, user_id)
    _import(narrator, settings)
    _queries(narrator, user_id, address)
    _rebuild(narrator, settings)
    narrator.explain("Everything is still running:")
    narrator.run("status")
    _print_next_steps(narrator, user_id, time.monotonic() - started)


def _print_requirements(narrator: Narrator) -> None:
    from scripts.stack.download.fetch import DOWNLOAD_MEGABYTES, UNPACKED_MEGABYTES, is_fetched
    from scripts.stack.places import cache_directory, server_user

    narrator.explain("rollbook, an event-sourced user registry, on real servers.")
    user = server_user()
    minutes = MINUTES_WARM
    if not is_fetched(user):
        minutes = MINUTES_COLD
        click.echo(
            f"The first run downloads Kafka, Elasticsearch and the schema registry: about "
            f"{DOWNLOAD_MEGABYTES} MB,\n{UNPACKED_MEGABYTES} MB unpacked in "
            f"{cache_directory(user)}; and 45 MB more if Java and Maven are missing."
        )
    click.echo(
        f"The demo needs about {MEMORY_GIGABYTES} GB of memory and {minutes} "
        f"minute{'s' * (minutes > 1)}, more on a slow line."
    )


def _create_and_update(narrator: Narrator) -> str:
    """Create and update a user, show that her address is unique; return her id."""
    narrator.explain(
        "Create a user: the command goes to Kafka, where its partition's handler decides it."
    )
    who = ("--email", _address("jane.doe"), "--name", "Jane Doe")
    # `up` does not wait for the handler, which restores its partitions first.
    user_id = _created(narrator, *who, "--age", "34", "--timeout", "60")
    narrator.explain("The same address again is rejected: no two users ever have the same one.")
    narrator.run("users", "create", *who, "--age", "35", ends_with=_REFUSED)
    narrator.explain("Change her name, but only if she is still at version 1.")
    narrator.run("users", "update", user_id, "--name", "Jane Döring", "--expected-version", "1")
    return user_id


def _change_and_erase(narrator: Narrator, settings: Settings, user_id: str) -> str:
    """Change her address, create another user with the old one, erase him; return her address."""
    narrator.explain("Change her address: it stays unique even if it belongs to another partition.")
    address = _address("jane.doering")
    narrator.run("users", "change-email", user_id, "--email", address)
    narrator.explain("Her events on the log:")
    narrator.run("events", "tail", "--user", user_id, "--from", "beginning", "--no-follow")
    narrator.explain("Her old address is free: another user registers with it.")
    who = ("--email", _address("jane.doe"), "--name", "John Doe")
    other_id = _created(narrator, *who, "--age", "41")
    narrator.explain("Erase that user: no query finds him or his history any more.")
    narrator.run("users", "erase", other_id, "--yes")
    _wait_until_current(settings)
    narrator.run("users", "get", other_id, ends_with=_REFUSED)
    return address


def _address(name: str) -> str:
    """Return an address that no earlier demo has used."""
    return f"{name}.{_STARTED:%Y%m%d-%H%M%S}@example.com"


def _created(narrator: Narrator, *arguments: str) -> str:
    """Create a user; return its id."""
    printed = narrator.read("users", "create", *arguments)
    found = re.search(r"^user_id\s+(\S+)$", printed, re.MULTILINE)
    if found is None:
        raise CheckFailed("the outcome contains no user id", code="demo_failed")
    return found[1]


def _import(narrator: Narrator, settings: Settings) -> None:
    narrator.explain(f"Import {PEOPLE:,} people; running it again creates no user twice.")
    path = stack_directory() / f"people-{PEOPLE}.csv"
    write_people(path, PEOPLE)
    narrator.run("users", "import", str(path))
    waited = _wait_until_current(settings)
    click.echo(f"all read models had applied everything {waited:.1f} s later")


def _queries(narrator: Narrator, user_id: str, address: str) -> None:
    narrator.explain("PostgreSQL answers queries for one user, an age range, and totals.")
    narrator.run("users", "get", user_id)
    narrator.run("users", "list", "--min-age", "20", "--max-age", "21", "--limit", "5")
    narrator.run("users", "summary")
    narrator.explain("Elasticsearch finds her by her new address, or by the beginning of it.")
    narrator.run("users", "search", address, "--limit", "1")
    narrator.run("users", "search", address.partition("@")[0], "--limit", "1")
    narrator.explain("It finds people despite typos and missing accents, in any script.")
    narrator.run("users", "search", "jnae", "dorring", "--limit", "3")
    narrator.run("users", "search", "asta", "muler", "--limit", "3")
    narrator.run("users", "search", "佐藤", "--limit", "3")


def _rebuild(narrator: Narrator, settings: Settings) -> None:
    """Rebuild both read models; raise `CheckFailed` if that changes their content."""
    narrator.explain("The read models can be rebuilt from the log at any time. Their content now:")
    before = _content(settings)
    _show(before)
    narrator.explain(
        "Build a new version of each from the beginning of the log, compare it with the log, and "
        "make it live in one step. Queries are answered all the time."
    )
    for name in before:
        narrator.run("projector", "rebuild", name)
        built = _versions(settings, name)[-1]
        narrator.run("projector", "swap", name, str(built.number))
    narrator.run("projector", "versions", "postgres")
    narrator.explain("The content of the new versions:")
    after = _content(settings)
    _show(after)
    if after != before:
        raise CheckFailed(
            "the rebuilt read models differ from the previous ones",
            code="rebuild_differs",
            next_step=f"`{narrator.shown_as} verify` lists the users",
        )
    click.echo(click.style("identical, user by user, in both read models", fg="green"))
    narrator.explain("The previous versions could be made live again; drop them instead.")
    for name in before:
        for version in _versions(settings, name):
            if not version.live:
                narrator.run("projector", "drop", name, str(version.number), "--yes")


def _content(settings: Settings) -> dict[str, Content]:
    """Return the content of the live versions."""
    from scripts.verify.stores import MODELS, read_users, stored_models

    found = {}
    for one in stored_models(settings, MODELS):
        if one.live:
            users = read_users(settings, one).held
            found[one.name] = Content(digest(users), recomputed(users.values()))
    return found


def _versions(settings: Settings, name: str) -> list[Version]:
    from projectors.catalog import open_versions

    with closing(open_versions(settings, name)) as versions:
        return versions.versions()


def _show(models: dict[str, Content]) -> None:
    for name, content in models.items():
        groups = ", ".join(f"{count} {group}s" for group, count in content.summary[2].items())
        click.echo(f"  {name:<14} {content.summary[0]} users: {groups}; digest {content.digest}")


def _wait_until_current(settings: Settings) -> float:
    """Wait until every read model has applied all events; return the seconds it took."""
    from projectors.versions.status import read_status

    started = time.monotonic()
    while True:
        status = read_status(settings)
        if not status.unavailable and all(part.lag == 0 for part in status.partitions):
            return time.monotonic() - started
        if time.monotonic() - started > _CAUGHT_UP_SECONDS:
            raise NotInTime(
                f"the read models have not caught up within {_CAUGHT_UP_SECONDS:.0f} s",
                code="read_models_behind",
                next_step="`rollbook projector status` shows their lag",
            )
        time.sleep(_POLL_SECONDS)


def _environment() -> list[str]:
    """Return the variables that a pasted command needs to use the same registry."""
    names = ("ROLLBOOK_STACKS", "ROLLBOOK_STACK", "ROLLBOOK_CONFIG", "ROLLBOOK_PREFIX")
    return [f"{name}={shlex.quote(os.environ[name])}" for name in names if name in os.environ]


def _print_next_steps(narrator: Narrator, user_id: str, seconds: float) -> None:
    rollbook = " ".join([*_environment(), narrator.shown_as])
    lines = (
        f"{rollbook} users create --email you@example.com --name You --age 30",
        f"{rollbook} users search jane",
        f"{rollbook} users get {user_id}",
        f"{rollbook} users list --min-age 65 --limit 10",
        f"{rollbook} users summary --json",
        f"{rollbook} events tail --from 10m --no-follow --limit 5",
        f"{rollbook} projector status",
        f"{rollbook} verify",
    )
    narrator.explain(f"Done in {seconds:.0f} s. Everything keeps running; try:")
    for line in lines:
        click.echo(f"  {line}")
    record = read_record(stack_directory())
    if record is not None:
        url = address("console", record.ports["console"], secure=record.secure)
        narrator.explain(f"See it all in a browser: {url}")
        if record.secure:
            click.echo(f"  sign in with the key in {key_file(stack_directory())}")
    narrator.explain("Stop it and keep the data, or delete the data as well:")
    click.echo(f"  {rollbook} down\n  {rollbook} down --wipe")
