"""Kafka's clients, each with the present password of its login as long as it lives.

A client keeps the password that it was made with. If that came from a file, the file is read again
every second, and a new password given to the client: it shows it when it logs in the next time, on
a new connection or when a broker demands it (`connections.max.reauth.ms`). librdkafka cannot
exchange anything else: a certificate, its key, or the secret of an OAuth client need a restart.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import confluent_kafka
from confluent_kafka.admin import AdminClient as _AdminClient

from runtime.configuration.secrets import FileSecret, current

_EVERY_SECONDS: Final = 1.0


class Producer(confluent_kafka.Producer):
    """A producer whose password follows its file."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(_with_present_secrets(config))
        _PASSWORDS.follow(self, config)


class Consumer(confluent_kafka.Consumer):
    """A consumer whose password follows its file."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(_with_present_secrets(config))
        _PASSWORDS.follow(self, config)

    def close(self) -> None:
        """Leave the group and close the connections."""
        _PASSWORDS.leave(self)
        super().close()


class AdminClient(_AdminClient):
    """An admin client whose password follows its file."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(_with_present_secrets(config))
        _PASSWORDS.follow(self, config)


_Client = Producer | Consumer | AdminClient


def _with_present_secrets(config: dict[str, Any]) -> dict[str, Any]:
    return {
        option: current(value) if isinstance(value, str) else value
        for option, value in config.items()
    }


@dataclass(slots=True)
class _Login:
    username: str
    secret: FileSecret
    given: str


class _Passwords:
    """Gives clients the passwords that their files have now, in one thread while there are any."""

    def __init__(self) -> None:
        # Held while a password is given, so that no client is closed meanwhile.
        self._lock = threading.Lock()
        self._logins: WeakKeyDictionary[_Client, _Login] = WeakKeyDictionary()
        self._is_running = False

    def follow(self, client: _Client, config: dict[str, Any]) -> None:
        """Give the client every later password, if the one of its configuration has a file."""
        secret = config.get("sasl.password")
        if not isinstance(secret, FileSecret):
            return
        with self._lock:
            self._logins[client] = _Login(config["sasl.username"], secret, secret.latest)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="kafka-passwords", daemon=True).start()

    def leave(self, client: _Client) -> None:
        """Give the client nothing more; it may be closed then."""
        with self._lock:
            self._logins.pop(client, None)

    def _run(self) -> None:
        while True:
            time.sleep(_EVERY_SECONDS)
            with self._lock:
                self._is_running = bool(self._logins)
                secrets = {login.secret.path: login.secret for login in self._logins.values()}
            if not secrets:
                return
            # Outside the lock: a file may be on a file system that hangs.
            self._give({path: secret.current() for path, secret in secrets.items()})

    def _give(self, passwords: Mapping[str, str]) -> None:
        with self._lock:
            for client, login in list(self._logins.items()):
                password = passwords.get(login.secret.path, login.given)
                if password != login.given:
                    client.set_sasl_credentials(login.username, password)
                    login.given = password


_PASSWORDS: Final = _Passwords()
