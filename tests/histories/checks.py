"""All checks of a history."""

from collections.abc import Iterator

from tests.histories.addresses import broken_addresses
from tests.histories.history import History
from tests.histories.sendings import broken_sendings, resolved
from tests.histories.tokens import broken_tokens
from tests.histories.users import broken_users


def broken(history: History) -> Iterator[str]:
    """Yield every promise that the registry broke towards its clients.

    Users and addresses are checked twice: as the clients knew them, and with the answers that they
    missed and somebody looked up at the end.
    """
    yield from broken_sendings(history)
    for one in [history] if history.found is None else [history, resolved(history)]:
        yield from broken_users(one)
        yield from broken_addresses(one)
    yield from broken_tokens(history)
