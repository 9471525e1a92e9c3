"""Runs the checks: the groups at the same time, so that it takes as long as the slowest."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress

from schemas.errors import Forbidden, RollbookError, Unavailable
from scripts.doctor.finding import (
    Check,
    Examination,
    Finding,
    Group,
    Level,
    NotCheckable,
    Result,
    not_checked,
    ok,
)


def run_groups(
    examination: Examination,
    groups: Sequence[Group],
    on_done: Callable[[str], None] = lambda _group: None,
) -> list[Result]:
    """Run every check; return the results, those that matter most first.

    `on_done` is called with the name of each group that is done. Raises nothing that a server does.
    """
    results: dict[str, list[Result]] = {}
    with ThreadPoolExecutor(max(1, len(groups)), thread_name_prefix="doctor") as runners:
        running = {runners.submit(_run_group, examination, group): group.name for group in groups}
        for done in as_completed(running):
            results[running[done]] = done.result()
            on_done(running[done])
    order = list(Level)
    found = [result for group in groups for result in results[group.name]]
    return sorted(found, key=lambda result: order.index(result.finding.level))


def _run_group(examination: Examination, group: Group) -> list[Result]:
    results: list[Result] = []
    facts = group.open(examination)
    try:
        for check in group.checks:
            if any(result.finding.unreachable for result in results):
                found = [not_checked("a server that it asks cannot be reached")]
            else:
                found = list(run_check(check, facts)) or [ok("nothing found")]
            results += [Result(group.name, check.name, finding) for finding in found]
    finally:
        if hasattr(facts, "close"):
            with suppress(Exception):
                facts.close()
    return results


def run_check(check: Check[object], facts: object) -> Iterator[Finding]:
    """Yield what a check finds; an error of a server is a finding too."""
    try:
        yield from check.run(facts)
    except NotCheckable as error:
        yield not_checked(str(error), error.remedy)
    except Unavailable as error:
        yield Finding(Level.PROBLEM, str(error), error.next_step, unreachable=True)
    except Forbidden as error:
        yield not_checked(str(error), error.next_step)
    except RollbookError as error:
        yield Finding(Level.PROBLEM, str(error), error.next_step)
    except Exception as error:  # noqa: BLE001 - the other checks must run; its text may quote data
        yield not_checked(f"the check failed: {type(error).__name__}")
