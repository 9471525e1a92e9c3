"""The methods that all clients have: one for each command about a user."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from producers.client.build import (
    change_email_command,
    create_command,
    delete_command,
    erase_command,
    update_command,
)
from schemas.records import UserCommand

R = TypeVar("R")


class UserCommands(ABC, Generic[R]):
    """A client whose methods return what its `send` returns.

    `issued_by` says who asks, for the audit trail: the name of a key or an opaque id, never a
    person. It is no part of what is asked.
    """

    @abstractmethod
    def send(self, command: UserCommand) -> R:
        """Send a command that a function of `producers.client.build` returned."""

    def create_user(
        self,
        email: object,
        name: object,
        age: object,
        command_id: object = None,
        *,
        issued_by: object = None,
    ) -> R:
        """Create a user."""
        return self.send(create_command(email, name, age, command_id, issued_by=issued_by))

    def update_user(
        self,
        user_id: object,
        name: object = None,
        age: object = None,
        expected_version: object = None,
        command_id: object = None,
        *,
        issued_by: object = None,
    ) -> R:
        """Change a user's name, age or both; None leaves a field as it is."""
        command = update_command(
            user_id, name, age, expected_version, command_id, issued_by=issued_by
        )
        return self.send(command)

    def change_email(
        self,
        user_id: object,
        email: object,
        expected_version: object = None,
        command_id: object = None,
        *,
        issued_by: object = None,
    ) -> R:
        """Give a user another e-mail address.

        The old address is free once the command is answered, or soon after that if the two
        addresses belong to different partitions.
        """
        command = change_email_command(
            user_id, email, expected_version, command_id, issued_by=issued_by
        )
        return self.send(command)

    def delete_user(
        self,
        user_id: object,
        expected_version: object = None,
        command_id: object = None,
        *,
        issued_by: object = None,
    ) -> R:
        """Delete a user; its history is kept."""
        command = delete_command(user_id, expected_version, command_id, issued_by=issued_by)
        return self.send(command)

    def erase_user(
        self,
        user_id: object,
        expected_version: object = None,
        command_id: object = None,
        *,
        issued_by: object = None,
    ) -> R:
        """Erase a user, live or deleted, with its history."""
        command = erase_command(user_id, expected_version, command_id, issued_by=issued_by)
        return self.send(command)
