"""Three brokers under load: a fault of one stalls commands for a while, and none is lost.

All at once are killed, too. Callers repeat what was not answered, as docs/http.md advises.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from scripts.stack.native.local import LocalStack
from tests.conftest import own_registry
from tests.depth import DEEP
from tests.faults.brokers.cluster import Cluster
from tests.faults.brokers.run import FAULTS, run
from tests.started.processes import Rollbook

pytestmark = pytest.mark.skipif(not DEEP, reason="starts three brokers; in `make test-deep`")


@pytest.fixture(autouse=True)
def _healed(stack: LocalStack, settings: Settings) -> Iterator[None]:
    yield
    Cluster(stack, settings).heal()


def test_topics_are_created_whichever_broker_learns_of_them_first(
    stack: LocalStack, tmp_path: Path
) -> None:
    """Some learn of a topic later than the one that answered, and know no such topic until then."""
    for _ in range(10):
        with own_registry(stack, tmp_path) as settings:
            assert all(report.created for report in ensure_topics(settings))


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_that_was_confirmed_is_lost(
    fault: str, rollbook: Rollbook, stack: LocalStack
) -> None:
    result = run(fault, rollbook, stack, repetitions=3)
    assert result.flaws == []
    assert result.lost == 0
    assert result.confirmed > 0
