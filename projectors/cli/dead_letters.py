"""`rollbook dead-letters`: see the records that could not be read or applied, and settle them."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click
import orjson

from runtime.command_line.context import pass_settings
from runtime.command_line.progress import progress_reporter
from runtime.command_line.terminal import (
    EXIT_REFUSED,
    json_option,
    print_fields,
    print_json,
    print_table,
    say,
)
from runtime.settings import Settings
from schemas.errors import Rejected

if TYPE_CHECKING:
    from projectors.dead_letters.retry import Retried
    from schemas.letters import Letter

_READER = click.option(
    "--reader",
    metavar="NAME",
    help="Only letters of this reader: handler, or projector:NAME for a read model.",
)
_LETTERS = click.argument("places", metavar="[LETTER]...", nargs=-1)
_MANY = 50  # from this many on, reading takes long enough to show progress


@click.group("dead-letters")
def dead_letters() -> None:
    """See and settle the records that could not be read or applied.

    A dead letter records where such a record is, which reader failed on it, and why; the record
    itself stays in the log. A letter is open until it is retried or discarded.
    """


@dead_letters.command("list")
@_READER
@click.option("--all", "settled_too", is_flag=True, help="Also show settled letters.")
@json_option
@pass_settings
def list_letters(
    settings: Settings, *, reader: str | None, settled_too: bool, as_json: bool
) -> None:
    """List the open dead letters, oldest first.

    They are kept for 14 days.

    \b
    Examples:
      rollbook dead-letters list
      rollbook dead-letters list --reader projector:postgres --all --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from projectors.dead_letters.reader import letter_fields

    letters = _read(settings, reader, as_json=as_json)
    found = [letter_fields(letter) for letter in letters if settled_too or letter.is_open]
    if as_json:
        for fields in found:
            print_json(fields)
        return
    names = ["letter", "reader", "error", "occurred_at", *(["settled"] if settled_too else [])]
    if found:
        print_table(names, ([fields[name] for name in names] for fields in found))
    say(f"{_count(sum(letter.is_open for letter in letters))} open")


@dead_letters.command()
@click.argument("place", metavar="LETTER")
@click.option(
    "--payload",
    is_flag=True,
    help="Show the record itself, decoded. It may contain personal data.",
)
@json_option
@pass_settings
def show(settings: Settings, place: str, *, payload: bool, as_json: bool) -> None:
    """Show a letter, and the record that is at its place on the log now.

    LETTER is topic:partition:offset, as `list` shows it.

    \b
    Examples:
      rollbook dead-letters show user-events:3:1207
      rollbook dead-letters show user-events:3:1207 --payload
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from projectors.dead_letters.place import look_at
    from projectors.dead_letters.reader import letter_fields, named

    found = named(_read(settings, None, as_json=as_json), [place])
    there = look_at(settings, found[0], payload=payload)
    letters = [letter_fields(letter) for letter in found]
    if as_json:
        print_json(there | {"letters": letters})
        return
    if "record" in there:
        there["record"] = orjson.dumps(there["record"], default=str).decode()
    print_fields(there)
    for letter in letters:
        click.echo()
        shown = ("reader", "error", "message", "occurred_at", "settled", "settled_at")
        print_fields({name: letter[name] for name in shown})


@dead_letters.command()
@_LETTERS
@click.option("--all", "every", is_flag=True, help="All open letters.")
@_READER
@click.option("--dry-run", is_flag=True, help="Only read the records again; apply nothing.")
@json_option
@pass_settings
def retry(
    settings: Settings,
    places: tuple[str, ...],
    *,
    every: bool,
    reader: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Retry records after the cause was fixed: read them again, and apply or send them.

    An event is applied to every version of its read model; later events are not undone. A command
    is appended again and decided now. A letter is also settled if its record is gone: removed by
    compaction (a later record of the user replaces it) or by retention (it is lost). Exits with 3
    if a letter stays open or a record is lost.

    \b
    Examples:
      rollbook dead-letters retry --all --dry-run
      rollbook dead-letters retry --all --reader projector:postgres
      rollbook dead-letters retry user-events:3:1207
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    letters = _chosen(settings, places, reader, every=every, as_json=as_json)
    done: list[Retried] = []
    try:
        _retry(settings, letters, done.append, dry_run=dry_run, as_json=as_json)
    finally:
        if not as_json:
            _print_retried(done, dry_run=dry_run)
    return EXIT_REFUSED if any(one.is_open or one.how == "gone" for one in done) else 0


@dead_letters.command()
@_LETTERS
@click.option("--all", "every", is_flag=True, help="All open letters.")
@_READER
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@pass_settings
def discard(
    settings: Settings,
    places: tuple[str, ...],
    *,
    every: bool,
    reader: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Settle letters without applying their records, for records that are not needed.

    A discarded letter stays discarded as long as its record is refused for the same reason, even
    when a read model is rebuilt. `retry` still accepts the letter if you name it. On a terminal,
    the command asks for confirmation; otherwise --all requires --yes.

    \b
    Examples:
      rollbook dead-letters discard user-events:3:1207
      rollbook dead-letters discard --all --reader handler --yes
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    may_ask = sys.stdin.isatty() and sys.stderr.isatty()
    if every and not yes and not may_ask:
        raise click.UsageError("this settles every open letter: confirm it with --yes")
    chosen = _chosen(settings, places, reader, every=every, as_json=as_json)
    letters = [letter for letter in chosen if letter.is_open]
    if letters and may_ask and not yes:
        question = f"Discard {_count(len(letters))} without applying the records?"
        if not click.confirm(question, err=True):
            raise Rejected("nothing was discarded", code="not_confirmed")
    from projectors.dead_letters.retry import discard as discard_letters

    discard_letters(settings, letters)
    if as_json:
        for letter in letters:
            print_json({"letter": letter.place, "reader": letter.reader, "result": "discarded"})
    else:
        say(f"{_count(len(letters))} discarded")


def _retry(
    settings: Settings,
    letters: "Sequence[Letter]",
    on_done: "Callable[[Retried], None]",
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from projectors.dead_letters.retry import retry_all

    if not letters:
        return
    count = 0
    with progress_reporter(
        lambda seconds: f"{count} of {len(letters)} letters, {count / (seconds or 1):.0f}/s",
        lambda: count,
        len(letters),
        as_json=as_json or len(letters) < _MANY,
    ) as show_progress:
        for one in retry_all(settings, letters, dry_run=dry_run):
            count += 1
            on_done(one)
            if as_json:
                print_json(one.as_json())
            if show_progress is not None:
                show_progress()


def _print_retried(done: "Sequence[Retried]", *, dry_run: bool) -> None:
    if done:
        rows = ((r.letter.place, r.letter.reader, r.how, r.message) for r in done)
        print_table(["letter", "reader", "result", "why"], rows)
    totals: dict[str, int] = {}
    for one in done:
        totals[one.how] = totals.get(one.how, 0) + 1
    told = ", ".join(f"{count} {how.replace('_', ' ')}" for how, count in sorted(totals.items()))
    say(f"{_count(len(done))} tried{' (dry run)' if dry_run else ''}{': ' if told else ''}{told}")


def _chosen(
    settings: Settings, places: Sequence[str], reader: str | None, *, every: bool, as_json: bool
) -> "list[Letter]":
    """Return the letters named, or with `every` those that are open."""
    from projectors.dead_letters.reader import named

    if every == bool(places):
        raise click.UsageError("name letters, or give --all for every open one")
    letters = _read(settings, reader, as_json=as_json)
    return [one for one in letters if one.is_open] if every else named(letters, places)


def _read(settings: Settings, reader: str | None, *, as_json: bool) -> "list[Letter]":
    """Return all letters, or those of one reader; report records that are not letters."""
    from projectors.dead_letters.reader import read_letters

    found = read_letters(settings)
    if found.unreadable and not as_json:
        say(f"{found.unreadable} records among the dead letters are not letters and were skipped")
    return [letter for letter in found.letters if reader in {None, letter.reader}]


def _count(number: int) -> str:
    return f"{number} dead letter{'' if number == 1 else 's'}"
