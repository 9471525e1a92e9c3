"""Objects of JSON are read alike, whether quickly or strictly."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.http import parse_object
from schemas.errors import Rejected

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
# As texts, so that a key may occur twice.
PAIRS = st.lists(st.tuples(st.sampled_from(["a", "b", ":", "é"]), VALUES), max_size=4)


def reference(content: bytes) -> dict[str, Any] | None:
    """Return what Python's own module reads, None if a key occurs twice in one object."""

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        found: dict[str, Any] = json.loads(content, object_pairs_hook=distinct)
    except ValueError:
        return None
    return found


@given(PAIRS, st.booleans())
@example([("a", 2**64), ("b", -(2**63) - 1)], False)
@example([("a", [-(2**63) - 1])], False)
@example([("a", 1), ("a", 2)], True)
def test_objects_are_read_as_python_reads_them(
    pairs: list[tuple[str, Any]],
    ascii_only: bool,  # noqa: FBT001
) -> None:
    """Including long whole numbers; except that no key may occur twice."""
    text = ",".join(
        f"{json.dumps(key, ensure_ascii=ascii_only)}:{json.dumps(value, ensure_ascii=ascii_only)}"
        for key, value in pairs
    )
    content = f"{{{text}}}".encode()
    expected = reference(content)
    if expected is None:
        with pytest.raises(Rejected, match="occurs twice"):
            parse_object(content)
    else:
        found = parse_object(content)
        assert repr(found) == repr(expected)  # 1.0 equals 1
