"""The table of error codes holds exactly the codes that the code can raise."""

from pathlib import Path

import pytest

from docsgen.raised import raised, sources
from schemas.error_codes import error_codes

ROOT = Path(__file__).parents[3]
HELD = (
    "from schemas.errors import Unavailable\nclass Held(Unavailable):\n    default_code = 'held'\n"
)


def test_every_code_that_is_raised_is_listed_and_the_reverse() -> None:
    """Add a missing code to schemas/error_codes.toml, then run `python -m docsgen`."""
    listed = {(one.code, one.error.__name__) for one in error_codes()}
    places = {(one.code, one.error): one.place for one in raised(sources(ROOT))}
    assert {code: place for code, place in places.items() if code not in listed} == {}
    assert listed - set(places) == set()


def test_every_code_says_what_it_means_and_what_to_do() -> None:
    for one in error_codes():
        assert one.meaning.endswith("."), one.code
        assert one.next_step.endswith("."), one.code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raise Rejected('x', code='a')", [("a", "Rejected")]),
        ("raise Rejected('x')", [("rejected", "Rejected")]),
        ("CODE = 'b'\nraise Rejected('x', code=CODE)", [("b", "Rejected")]),
        ("raise Rejected('x', code=error.code)", []),
        ("from a.hold import Held\nHeld('x')", [("held", "Unavailable")]),
        ("from a import Held\nHeld('x')", [("held", "Unavailable")]),
        ("class Held(NamedTuple): ...\nHeld('x')", []),
        ("yield BadLine(1, 'c', 'x')", [("c", "Rejected")]),
        (
            "class Own(Rejected):\n  def __init__(self):\n    super().__init__('x', code='d')",
            [("d", "Rejected")],
        ),
    ],
)
def test_the_search_finds_each_way_to_give_a_code(
    text: str, expected: list[tuple[str, str]]
) -> None:
    modules = {
        "a/hold.py": HELD,
        "schemas/errors.py": "",
        "b.py": f"from schemas.errors import Rejected\n{text}",
    }
    assert [(one.code, one.error) for one in raised(modules)] == expected
