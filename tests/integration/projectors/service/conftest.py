"""A registry with a running query service."""

from collections.abc import Iterator

import pytest

from tests.integration.projectors.service.http import Service
from tests.processes import Rollbook


@pytest.fixture
def service(rollbook: Rollbook) -> Iterator[Service]:
    """The query service, without keys."""
    service = Service(rollbook)
    with service.client:
        yield service
