"""`rollbook demo`: the whole of rollbook on real servers, told step by step.

Everything is done by calling `rollbook` itself, shown as it is called, so that any line can be
pasted afterwards. Nothing waits for a fixed time: a step that needs the read models waits until
they have applied all there is.
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

from runtime.settings import Settings, load_settings, stack_directory
from schemas.errors import CheckFailed, NotInTime
from scripts.narrator import Narrator, call_as
from scripts.people import write_people
from scripts.verify.store_checks import Summary, digest, recomputed

PEOPLE = 20_000
# Measured with the native stack: resident memory of the servers and our three services, and how
# long the demo took with the servers fetched and not, on 2 cores and a fast line.
MEMORY_GIGABYTES = 3
MINUTES_WARM = 1
MINUTES_COLD = 3
_CAUGHT_UP_SECONDS = 180.0
_POLL_SECONDS = 0.25
_REFUSED = 3
_STARTED = datetime.now(UTC)


class Held(NamedTuple):
    """What a read model holds, in a form that can be compared and printed."""

    digest: str
    summary: Summary


@click.command()
def demo() -> None:
    """Show the whole of rollbook on real servers, and leave it running.

    Starts everything, takes a user through her life, imports 20,000, finds some of them, and
    rebuilds both read models from the log while they serve. Harmless to run again. Says beforehand
    what it takes.

    \b
    Example:
      rollbook demo
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    started = time.monotonic()
    program = Path(sys.executable).with_name("rollbook")
    narrator = Narrator(str(program), call_as(program))
    _say_what_it_takes(narrator)
    narrator.tell("Everything is started: servers, topics, command handler, projectors.")
    narrator.run("up")
    settings = load_settings().settings
    user_id = _one_user(narrator)
    address = _one_life(narrator, settings, user_id)
    _many_users(narrator, settings)
    _queries(narrator, user_id, address)
    _rebuild(narrator, settings)
    narrator.tell("All of it runs, and goes on running.")
    narrator.run("status")
    _say_goodbye(narrator, user_id, time.monotonic() - started)


def _say_what_it_takes(narrator: Narrator) -> None:
    from scripts.stack.fetch import DOWNLOAD_MEGABYTES, UNPACKED_MEGABYTES, is_fetched
    from scripts.stack.places import cache_directory, server_user

    narrator.tell("rollbook, a user registry on a log, on real servers.")
    user = server_user()
    minutes = MINUTES_WARM
    if not is_fetched(user):
        minutes = MINUTES_COLD
        click.echo(
            f"The first time it fetches Kafka, Elasticsearch and the schema registry: about "
            f"{DOWNLOAD_MEGABYTES} MB\nto load and {UNPACKED_MEGABYTES} MB unpacked in "
            f"{cache_directory(user)}, kept for later runs."
        )
    click.echo(
        f"It needs about {MEMORY_GIGABYTES} GB of memory while it runs and takes about {minutes} "
        f"minute{'s' * (minutes > 1)}, more on a slow line."
    )


def _one_user(narrator: Narrator) -> str:
    """Create a user, be refused her address, update her; return her id."""
    narrator.tell(
        "A user is created: a command on the log, decided by the one handler of its part."
    )
    who = ("--email", _address("jane.doe"), "--name", "Jane Doe")
    user_id = _created(narrator, *who, "--age", "34")
    narrator.tell("The same address again is refused, exactly: no two users ever hold one.")
    narrator.run("users", "create", *who, "--age", "35", ends_with=_REFUSED)
    narrator.tell("She marries. Only version 1 may be changed, so that nobody overwrites another.")
    narrator.run("users", "update", user_id, "--name", "Jane Döring", "--expected-version", "1")
    return user_id


def _one_life(narrator: Narrator, settings: Settings, user_id: str) -> str:
    """Change her address, give the old one to somebody new, erase him; return her address."""
    narrator.tell("She takes another address. In whichever partition it belongs, it has one owner.")
    address = _address("jane.doering")
    narrator.run("users", "change-email", user_id, "--email", address)
    narrator.tell("Her events, as they stand on the log:")
    narrator.run("events", "tail", "--user", user_id, "--from", "beginning", "--no-follow")
    narrator.tell("The address that she left is free: somebody new registers it.")
    who = ("--email", _address("jane.doe"), "--name", "John Doe")
    other_id = _created(narrator, *who, "--age", "41")
    narrator.tell("He wants to be forgotten: gone from every query, and his history with him.")
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
        raise CheckFailed("the outcome names no user", code="demo_failed")
    return found[1]


def _many_users(narrator: Narrator, settings: Settings) -> None:
    narrator.tell(f"{PEOPLE:,} people are imported; a second time all of them are there already.")
    path = stack_directory() / f"people-{PEOPLE}.csv"
    write_people(path, PEOPLE)
    narrator.run("users", "import", str(path))
    waited = _wait_until_current(settings)
    click.echo(f"both read models have applied it {waited:.1f} s later")


def _queries(narrator: Narrator, user_id: str, address: str) -> None:
    narrator.tell("PostgreSQL answers for one user, for an age, and for all.")
    narrator.run("users", "get", user_id)
    narrator.run("users", "list", "--min-age", "20", "--max-age", "21", "--limit", "5")
    narrator.run("users", "summary")
    narrator.tell("Elasticsearch finds her by her new address, as a whole or as it begins.")
    narrator.run("users", "search", address, "--limit", "1")
    narrator.run("users", "search", address.partition("@")[0], "--limit", "1")
    narrator.tell("It finds people with typos, without accents, in any script.")
    narrator.run("users", "search", "jnae", "dorring", "--limit", "3")
    narrator.run("users", "search", "asta", "muler", "--limit", "3")
    narrator.run("users", "search", "佐藤", "--limit", "3")


def _rebuild(narrator: Narrator, settings: Settings) -> None:
    """Rebuild both read models; require that the log gives exactly what was there."""
    narrator.tell("The read models can be rebuilt at any time: the log has it all. What they hold:")
    before = _held(settings)
    _show(before)
    narrator.tell(
        "A new version of each is built from the log's beginning, compared with it, and made live "
        "in one step. Queries are answered throughout."
    )
    for name in before:
        narrator.run("projector", "rebuild", name)
        built = _newest(settings, name)
        narrator.run("projector", "swap", name, str(built))
    narrator.run("projector", "versions", "postgres")
    narrator.tell("What the new versions hold:")
    after = _held(settings)
    _show(after)
    if after != before:
        raise CheckFailed(
            "the rebuilt read models differ from what was there",
            code="rebuild_differs",
            next_step=f"`{narrator.shown_as} verify` names the users",
        )
    click.echo(click.style("the same, user by user, in both", fg="green"))
    narrator.tell("The old ones could be swapped back; here they go.")
    for name in before:
        for number in _kept(settings, name):
            narrator.run("projector", "drop", name, str(number), "--yes")


def _held(settings: Settings) -> dict[str, Held]:
    """Return what the live versions hold."""
    from scripts.verify.stores import MODELS, read_users, stored_models

    found = {}
    for one in stored_models(settings, MODELS):
        if one.live:
            users = read_users(settings, one).held
            found[one.name] = Held(digest(users), recomputed(users.values()))
    return found


def _newest(settings: Settings, name: str) -> int:
    from projectors.catalog import open_versions

    with closing(open_versions(settings, name)) as versions:
        return versions.versions()[-1].number


def _kept(settings: Settings, name: str) -> list[int]:
    from projectors.catalog import open_versions

    with closing(open_versions(settings, name)) as versions:
        return [version.number for version in versions.versions() if not version.live]


def _show(models: dict[str, Held]) -> None:
    for name, held in models.items():
        groups = ", ".join(f"{count} {group}s" for group, count in held.summary[2].items())
        click.echo(f"  {name:<14} {held.summary[0]} users: {groups}; digest {held.digest}")


def _wait_until_current(settings: Settings) -> float:
    """Wait until every read model has applied all events there are; return the seconds it took."""
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
                next_step="`rollbook projector status` shows how far they are",
            )
        time.sleep(_POLL_SECONDS)


def _environment() -> list[str]:
    """Return the assignments without which a pasted command would find another registry."""
    names = ("ROLLBOOK_STACKS", "ROLLBOOK_STACK", "ROLLBOOK_CONFIG", "ROLLBOOK_PREFIX")
    return [f"{name}={shlex.quote(os.environ[name])}" for name in names if name in os.environ]


def _say_goodbye(narrator: Narrator, user_id: str, seconds: float) -> None:
    rollbook = " ".join([*_environment(), narrator.shown_as])
    lines = (
        f"{rollbook} users create --email you@example.com --name You --age 30",
        f"{rollbook} users search jane",
        f"{rollbook} users get {user_id}",
        f"{rollbook} users list --min-age 65 --limit 10",
        f"{rollbook} users summary --json",
        f"{rollbook} events tail --from -10m --no-follow --limit 5",
        f"{rollbook} projector status",
        f"{rollbook} verify",
    )
    narrator.tell(f"Done in {seconds:.0f} s. It goes on running; try:")
    for line in lines:
        click.echo(f"  {line}")
    narrator.tell("To stop it, keeping the data, or deleting it as well:")
    click.echo(f"  {rollbook} down\n  {rollbook} down --wipe")
