"""Real servers for the tests: one stack for all workers, and a separate prefix for every test."""

import os
import sys
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from runtime.kafka.clients import admin
from runtime.kafka.registry import Registry
from runtime.roles.table import OPERATOR, REGISTRY, roles
from runtime.settings import Settings, load_settings
from runtime.topics.admin import ensure_topics
from schemas.topics import TOPICS
from scripts.bench.workload.stores import remove_read_models
from scripts.stack.native.local import LocalStack
from scripts.stack.native.server_files import SERVERS
from scripts.stack.secure.logins import role_file
from scripts.stack.secure.roles import grant_roles, revoke_roles
from scripts.stack.secure.services import prepare_read_models
from tests.depth import DEEP, DEEP_TIMEOUT_SECONDS, depth
from tests.started.processes import Rollbook, RunningProcess
from tests.started.roles import OPEN_SERVICES, SECURE

PARTITIONS = 4
# The second compiler would take a third of the processor time that servers need in their few
# minutes, and no test needs fast servers.
QUICK_JAVA = "-XX:TieredStopAtLevel=1"
OWN_STACKS = pytest.StashKey[list[str]]()
FAULTS = "tests/faults/servers/"
# Each waits for the schema ids that come next: one test would register those of another.
SAME_SCHEMAS = "tests/integration/projectors/engine/"
SHARED_STACK = "ROLLBOOK_TEST_STACK"
FAULTS_STACK = "ROLLBOOK_TEST_FAULTS_STACK"
SECURE_STACK = "ROLLBOOK_TEST_SECURE_STACK"
BROKERS_STACK = "ROLLBOOK_TEST_BROKERS_STACK"
# In `make test`, without the two whose start takes long: the tests of those are deep.
SECURE_SERVERS = depth(("kafka", "postgres"), SERVERS)
# On a busy machine. The first test of a worker must also end within its own time limit.
START_SECONDS = 280


def pytest_configure(config: pytest.Config) -> None:
    """Name the stack that all workers of this run share, unless a running one is named.

    Property tests without their own depth try twenty times as many examples in `make test-deep`,
    and others in every run. In `make check` they try the same in every run: a change is not blocked
    by a fault that it does not have. None fails because it is slow: on a busy machine a
    millisecond's work takes seconds.
    """
    hypothesis.settings.register_profile("deep", max_examples=1_000, deadline=None)
    hypothesis.settings.register_profile("quick", max_examples=30, derandomize=True, deadline=None)
    hypothesis.settings.load_profile("deep" if DEEP else "quick")
    own = f"tests-{os.getpid()}"
    for variable, name in (
        (SHARED_STACK, own),
        (FAULTS_STACK, f"{own}-faults"),
        (SECURE_STACK, f"{own}-secure"),
        (BROKERS_STACK, f"{own}-brokers"),
    ):
        if variable not in os.environ:  # the workers inherit the environment
            os.environ[variable] = name
            config.stash.setdefault(OWN_STACKS, []).append(name)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take down what this run started once the last worker has ended, or was killed."""
    for name in config.stash.get(OWN_STACKS, ()):
        LocalStack(name).down(wipe=True)


class FileScheduling(LoadFileScheduling):
    """Gives each file to one worker, and all files of some folders to the same worker."""

    def _split_scope(self, nodeid: str) -> str:
        together = (folder for folder in (FAULTS, SAME_SCHEMAS) if nodeid.startswith(folder))
        return next(together, super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Schedule `--dist loadfile` with one set of servers to stop, not one per worker."""
    return FileScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Replace the time limits by one for deep tests in `make test-deep`."""
    if DEEP:
        for item in items:
            item.add_marker(pytest.mark.timeout(DEEP_TIMEOUT_SECONDS), append=False)


def start_stack(
    name: str,
    *,
    secure: bool = False,
    brokers: int | None = None,
    servers: Collection[str] = SERVERS,
) -> LocalStack:
    """Start a stack on free ports, or return it as it is if another worker has started it."""
    stack = LocalStack(name)
    with pytest.MonkeyPatch.context() as patch:
        for options in ("JDK_JAVA_OPTIONS", "ES_JAVA_OPTS"):
            patch.setenv(options, QUICK_JAVA)
        stack.up(
            free_ports=True,
            secure=secure,
            brokers=brokers,
            servers=servers,
            report=print,
            timeout_seconds=START_SECONDS,
        )
    if "registry" in servers:
        # The schemas are the same for every prefix.
        Registry(load_settings({}, config=str(stack.config_file)).settings).ensure()
    return stack


@pytest.fixture(scope="session")
def stack() -> LocalStack:
    """The stack that all tests share, each with a separate prefix."""
    return start_stack(os.environ[SHARED_STACK], secure=SECURE)


@pytest.fixture(scope="session")
def secure_stack() -> LocalStack:
    """The stack whose servers demand TLS and logins, also shared; only `SECURE_SERVERS` run."""
    return start_stack(os.environ[SECURE_STACK], secure=True, servers=SECURE_SERVERS)


@pytest.fixture
def role_files(secure_stack: LocalStack) -> Iterator[dict[str, Path]]:
    """Role → the file of its settings on the secure stack, with a prefix for this test.

    Nothing else exists of the prefix. Its topics and roles are removed afterwards.
    """
    settings = replace(Settings(), prefix=f"t{uuid.uuid4().hex[:10]}")
    yield grant_roles(secure_stack.directory, settings, servers=SECURE_SERVERS)
    delete_topics(replace(administrator(secure_stack), prefix=settings.prefix))
    revoke_roles(secure_stack.directory, settings, servers=SECURE_SERVERS)


@pytest.fixture
def settings(empty: Settings) -> Settings:
    """Settings with a prefix for this test, which has all topics."""
    ensure_topics(empty)
    if SECURE:
        prepare_read_models(empty)
    return empty


@pytest.fixture
def empty(stack: LocalStack, tmp_path: Path) -> Iterator[Settings]:
    """Settings with a prefix for this test; its topics and read models are removed afterwards."""
    with own_registry(stack, tmp_path) as settings:
        yield settings


@contextmanager
def own_registry(stack: LocalStack, directory: Path) -> Iterator[Settings]:
    """Yield settings with their own prefix; remove its topics and read models afterwards.

    On a secure stack they are the operator's.
    """
    prefix = f"t{uuid.uuid4().hex[:10]}"
    flags = {"prefix": prefix, "partitions": PARTITIONS, "state_directory": str(directory)}
    config = stack.config_file
    if SECURE:
        granted = replace(Settings(), prefix=prefix)
        config = grant_roles(stack.directory, granted)[OPERATOR]
    settings = load_settings(flags, config=str(config)).settings
    yield settings
    remove_read_models(settings)
    if SECURE:
        delete_topics(replace(administrator(stack), prefix=settings.prefix))
        revoke_roles(stack.directory, settings)
    else:
        delete_topics(settings)


def administrator(stack: LocalStack) -> Settings:
    """Return the settings of a login that may do everything on a secure stack."""
    return load_settings(config=str(stack.directory / "admin.toml")).settings


def delete_topics(settings: Settings) -> None:
    """Delete the topics of a prefix.

    A broker with thousands of idle partitions would slow down every later test.
    """
    client = admin(settings)
    deletions = client.delete_topics([settings.named(topic.name) for topic in TOPICS])
    for deletion in deletions.values():
        deletion.exception()


@pytest.fixture
def rollbook(settings: Settings, stack: LocalStack, tmp_path: Path) -> Iterator[Rollbook]:
    """The `rollbook` command with the test's settings; its processes end with the test."""
    rollbook = rollbook_on(stack, settings, tmp_path)
    try:
        yield rollbook
    finally:
        rollbook.stop_all()
        sys.stdout.write(rollbook.last_output())  # pytest shows this if the test failed


def rollbook_on(stack: LocalStack, settings: Settings, directory: Path) -> Rollbook:
    """Return the command with these settings; on a secure stack, each process with its role's."""
    if not SECURE:
        return Rollbook(settings, stack.config_file, directory)
    names = roles(settings).keys() - {REGISTRY}
    files = {name: role_file(stack.directory, name, settings.prefix) for name in names}
    return Rollbook(
        settings, files[OPERATOR], directory, overrides=dict(OPEN_SERVICES), roles=files
    )


@pytest.fixture
def handler(rollbook: Rollbook) -> RunningProcess:
    """A command handler that has restored all partitions."""
    return rollbook.start_handler()
