"""What the tests of this folder share with those that start no process."""

from tests.unit.conftest import no_local_stack

__all__ = ["no_local_stack"]
