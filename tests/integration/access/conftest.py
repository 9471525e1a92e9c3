"""Servers that refuse logins and permissions, and `rollbook` with a login at them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from scripts.stack.native.local import LocalStack
from tests.conftest import delete_topics
from tests.integration.access.servers.secured_broker import SecuredBroker, secured_broker
from tests.started.processes import Rollbook


@pytest.fixture(scope="session")
def broker(secure_stack: LocalStack) -> SecuredBroker:
    """A broker that demands a login; all workers share it."""
    return secured_broker(secure_stack)


@pytest.fixture
def guarded(
    empty: Settings, broker: SecuredBroker, stack: LocalStack, tmp_path: Path
) -> Iterator[Rollbook]:
    """`rollbook` with a login at the secured broker; its `settings` may do everything there."""
    settings = broker.settings(empty)
    ensure_topics(settings)
    rollbook = Rollbook(settings, stack.config_file, tmp_path, overrides=broker.login())
    try:
        yield rollbook
    finally:
        rollbook.stop_all()
        sys.stdout.write(rollbook.last_output())
        delete_topics(settings)
