"""A registry with a running query service."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.integration.projectors.service.http import QueryService
from tests.started.processes import Rollbook


@pytest.fixture
def service(rollbook: Rollbook) -> Iterator[QueryService]:
    """The query service, without keys and operations."""
    service = QueryService(rollbook)
    with closing(service.http):
        yield service
