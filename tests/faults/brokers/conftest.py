"""A stack with three brokers, which run again before the next test."""

import os

import pytest

from scripts.stack.brokers import SEVERAL
from scripts.stack.native.local import LocalStack
from tests.conftest import BROKERS_STACK, start_stack


@pytest.fixture(scope="session")
def stack() -> LocalStack:
    """A stack that no other tests use."""
    return start_stack(os.environ[BROKERS_STACK], brokers=SEVERAL)
