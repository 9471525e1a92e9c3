"""The peer: users and addresses as aggregates of the `eventsourcing` library, on PostgreSQL.

Needs the dependency group `benchmark`: only the processes of the peer import it.
"""

from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate


class User(Aggregate):
    """A registered user."""

    def __init__(self, email: str, name: str, age: int) -> None:
        self.email = email
        self.name = name
        self.age = age


class Email(Aggregate):
    """A taken address. Its id is derived from it, so that taking it twice collides."""

    def __init__(self, address: str, user_id: UUID) -> None:
        self.address = address
        self.user_id = user_id

    @staticmethod
    def create_id(address: str) -> UUID:
        """Return the id of an address's aggregate."""
        return uuid5(NAMESPACE_URL, f"/emails/{address}")


class Users(Application):
    """The peer's registry."""

    def register(self, email: str, name: str, age: int) -> UUID:
        """Create a user, in one transaction with its address.

        Raises the library's IntegrityError if the address is taken.
        """
        user = User(email, name, age)
        self.save(user, Email(email, user.id))
        return UUID(str(user.id))
