"""The read model of users in PostgreSQL, removed after each test."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.writer import postgres_versions
from runtime.settings import Settings
from tests.observed.read_models import OpenVersion


@pytest.fixture
def versions(settings: Settings) -> Iterator[PostgresVersions]:
    """The versions of the read model; the first one exists."""
    with closing(postgres_versions(settings)) as versions:
        versions.begin()
        yield versions


@pytest.fixture
def opened(settings: Settings) -> Iterator[OpenVersion]:
    """The first version, empty."""
    with OpenVersion(postgres_versions(settings)) as opened:
        yield opened
