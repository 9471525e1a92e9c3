"""Real servers for the tests: one stack for the session, a prefix of its own for every test."""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.kafka import admin
from runtime.registry import Registry
from runtime.settings import Settings, load_settings
from runtime.topic_admin import ensure_topics
from schemas.topics import TOPICS
from scripts.stack.local import LocalStack
from tests.processes import Rollbook, RunningProcess

PARTITIONS = 4
# Servers that live for minutes: to compile their code a second time takes a third of what they
# need of the processor, and the tests ask for no speed.
QUICK_JAVA = "-XX:TieredStopAtLevel=1"


@pytest.fixture(scope="session")
def own_stack() -> Iterator[LocalStack]:
    """A stack of this worker alone, on free ports, wiped at the end."""
    stack = LocalStack(f"tests-{os.getpid()}")
    with pytest.MonkeyPatch.context() as patch:
        for options in ("JDK_JAVA_OPTIONS", "ES_JAVA_OPTS"):
            patch.setenv(options, QUICK_JAVA)
        stack.up(free_ports=True, report=print)
    try:
        yield stack
    finally:
        stack.down(wipe=True)


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> LocalStack:
    """The worker's own stack; ROLLBOOK_TEST_STACK names a running one instead."""
    named = os.environ.get("ROLLBOOK_TEST_STACK")
    if not named:
        own: LocalStack = request.getfixturevalue("own_stack")
        return own
    stack = LocalStack(named)
    stack.up(free_ports=True, report=print)
    return stack


@pytest.fixture
def settings(stack: LocalStack, tmp_path: Path) -> Iterator[Settings]:
    """Settings with a prefix of the test's own and its topics made; they go with the test."""
    flags = {
        "prefix": f"t{uuid.uuid4().hex[:10]}",
        "partitions": PARTITIONS,
        "state_directory": str(tmp_path),
    }
    settings = load_settings(flags, config=str(stack.config_file)).settings
    Registry(settings).ensure()
    ensure_topics(settings)
    yield settings
    # A broker with thousands of idle partitions is slow for every later test.
    client = admin(settings)
    deletions = client.delete_topics([settings.named(topic.name) for topic in TOPICS])
    for deletion in deletions.values():
        deletion.exception()


@pytest.fixture
def rollbook(settings: Settings, stack: LocalStack, tmp_path: Path) -> Iterator[Rollbook]:
    """The `rollbook` command under the test's settings; what it started ends with the test."""
    rollbook = Rollbook(settings, stack.config_file, tmp_path)
    try:
        yield rollbook
    finally:
        rollbook.stop_all()
        sys.stdout.write(rollbook.last_words())  # shown of a test that failed


@pytest.fixture
def handler(rollbook: Rollbook) -> RunningProcess:
    """A command handler that has all partitions."""
    return rollbook.start_handler()
