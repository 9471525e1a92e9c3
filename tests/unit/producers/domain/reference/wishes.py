"""The commands that clients of the stateful test may send; shrinking prefers earlier values."""

from itertools import count

from hypothesis import strategies as st

from tests.unit.producers.domain.reference.rules import home_of_address

PARTITIONS = 3


def _pool() -> list[str]:
    """Return two addresses of each partition."""
    found: dict[int, list[str]] = {number: [] for number in range(PARTITIONS)}
    for n in count():
        email = f"a{n}@example.com"
        here = found[home_of_address(email, PARTITIONS)]
        if len(here) < 2:
            here.append(email)
        if all(len(emails) == 2 for emails in found.values()):
            break
    return [email for emails in found.values() for email in emails]


POOL = _pool()
KINDS = (
    ["CreateUser"] * 4 + ["ChangeEmail"] * 6 + ["UpdateUser", "DeleteUser", "EraseUser", "Promote"]
)
WISHES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "who": st.integers(0, 7),
        "email": st.sampled_from(
            [*POOL, *POOL, *[email.capitalize() for email in POOL[::2]], "no address"]
        ),
        "name": st.sampled_from(["Jane", "Joe", " Joe ", "", None]),
        "age": st.sampled_from([30, 31, 151, None]),
        "expected": st.sampled_from([None, None, None, "right", "right", 1, 2, 0]),
        "id": st.sampled_from(["new"] * 9 + ["old", "bad"]),
        "which": st.integers(0, 20),
        "place": st.sampled_from(["home"] * 11 + ["elsewhere"]),
    }
)
WISH = {
    "kind": "ChangeEmail",
    "who": 0,
    "email": POOL[0],
    "name": "Jane",
    "age": 30,
    "expected": None,
    "id": "new",
    "which": 0,
    "place": "home",
}
