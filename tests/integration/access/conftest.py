"""Servers that refuse logins and permissions, and `rollbook` with a login at them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.kafka import admin
from runtime.settings import Settings
from runtime.topics.admin import ensure_topics
from schemas.topics import TOPICS
from scripts.stack.local import LocalStack
from tests.conftest import SECURED_STACK
from tests.integration.access.secured_broker import SecuredBroker, start_secured_broker
from tests.processes import Rollbook


@pytest.fixture(scope="session")
def broker() -> SecuredBroker:
    """A broker that demands a login; all workers share it."""
    return start_secured_broker(os.environ[SECURED_STACK])


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
        names = [settings.named(topic.name) for topic in TOPICS]
        client = admin(settings)  # kept in a variable: its futures never resolve once it is gone
        for deletion in client.delete_topics(names).values():
            deletion.exception()
