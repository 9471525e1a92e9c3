"""The peer: users and addresses as aggregates of the `eventsourcing` library, on PostgreSQL.

Needs the dependency group `benchmark`: only the processes of the peer import it.
"""

from collections.abc import Sequence
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from scripts.bench.workload.people import Person

_AT_ONCE = 1_000


class User(Aggregate):
    """A registered user."""

    def __init__(self, email: str, name: str, age: int) -> None:
        self.email = email
        self.name = name
        self.age = age

    @event("Renamed")
    def rename(self, name: str) -> None:
        """Change the name."""
        self.name = name


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

    def rename(self, user_id: UUID, name: str) -> None:
        """Change a user's name.

        Raises the library's IntegrityError if somebody else has changed the user meanwhile.
        """
        user: User = self.repository.get(user_id)
        user.rename(name)
        self.save(user)

    def register_all(self, persons: Sequence[Person]) -> list[UUID]:
        """Create users, many in each transaction; return their ids."""
        ids: list[UUID] = []
        for start in range(0, len(persons), _AT_ONCE):
            users = [User(*person) for person in persons[start : start + _AT_ONCE]]
            self.save(*users, *(Email(user.email, user.id) for user in users))
            ids += (UUID(str(user.id)) for user in users)
        return ids
