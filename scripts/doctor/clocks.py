"""What to think of a server's clock, compared with this machine's."""

from typing import Final

from scripts.doctor.finding import Finding, ok, problem, warning

# docs/production.md: handlers log an error beyond a minute.
_PROBLEM_SECONDS: Final = 60.0
_WARNING_SECONDS: Final = 5.0


def clock_finding(whose: str, theirs: float, before: float, after: float) -> Finding:
    """Return what to think of a clock that was read between `before` and `after`, in seconds.

    The time that the answer took does not count as a difference.
    """
    difference = max(0.0, before - theirs, theirs - after)
    text = f"the clock of {whose} differs by {difference:.1f} s from the one here"
    remedy = "synchronise both with NTP (docs/production.md, Clocks)"
    if difference > _PROBLEM_SECONDS:
        return problem(text, remedy)
    return warning(text, remedy) if difference > _WARNING_SECONDS else ok(text)
