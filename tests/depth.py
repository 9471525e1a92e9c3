"""How deep the property tests, schedules and kill points go: one switch for all of them.

`make test` tries enough to find the faults these tests were written for. With
`ROLLBOOK_TEST_DEEP=1`, which `make test-deep` sets, they run at full depth, however long it takes.
"""

import os
from typing import TypeVar

T = TypeVar("T")

DEEP = bool(os.environ.get("ROLLBOOK_TEST_DEEP"))
# A deep test hangs only after this long; its own, shorter limit is for `make test`.
DEEP_TIMEOUT_SECONDS = 4 * 3600


def depth(quick: T, deep: T) -> T:
    """Return the value for this run: `quick` in `make test`, `deep` in `make test-deep`."""
    return deep if DEEP else quick
