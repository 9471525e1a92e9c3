"""Kafka's clients: with the present password of a login, and without garbage of failed calls.

A client keeps the password that it was made with. If that came from a file, the file is read again
every second, and a new password given to the client: it shows it when it logs in the next time, on
a new connection or when a broker demands it (`connections.max.reauth.ms`). librdkafka cannot
exchange anything else: a certificate, its key, or the secret of an OAuth client need a restart.

With Python 3.11, a call of confluent-kafka that fails while another exception is handled keeps that
exception for ever. Its traceback would keep the local variables of all its frames: a soak of an
hour left four replaced producers, each with its threads and connections, and batches of commands.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import confluent_kafka
from confluent_kafka import KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient as _AdminClient

from runtime.configuration.secrets import FileSecret, current

_EVERY_SECONDS: Final = 1.0
_KEEPS_HANDLED: Final = sys.version_info < (3, 12)
_FAILING: Final = (
    *("init_transactions", "begin_transaction", "send_offsets_to_transaction"),
    *("commit_transaction", "abort_transaction", "produce_batch"),
    *("subscribe", "unsubscribe", "assign", "incremental_assign", "incremental_unassign"),
    *("poll", "consume", "seek", "pause", "resume", "position", "commit", "committed"),
    *("get_watermark_offsets", "offsets_for_times", "list_topics", "set_sasl_credentials"),
)


P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def _frees_handled(call: Callable[P, R]) -> Callable[P, R]:
    """Take the tracebacks from exceptions that are handled while `call` fails."""

    @wraps(call)
    def freeing(*args: P.args, **options: P.kwargs) -> R:
        handled = sys.exception()
        try:
            return call(*args, **options)
        except KafkaException:
            while handled is not None:
                handled.__traceback__ = None
                handled = handled.__context__
            raise

    return freeing


def _all_free_handled(client: C) -> C:
    """Wrap the methods of a client that ask a broker, or fail because of its state."""
    for name in _FAILING if _KEEPS_HANDLED else ():
        if hasattr(client, name):
            setattr(client, name, _frees_handled(getattr(client, name)))
    return client


@_all_free_handled
class Producer(confluent_kafka.Producer):
    """A producer whose password follows its file."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(_with_present_secrets(config))
        _PASSWORDS.follow(self, config)

    def log_in_with(self, username: str, password: str) -> None:
        """Use this login from the next one on."""
        self.set_sasl_credentials(username, password)


@_all_free_handled
class AdminClient(_AdminClient):
    """An admin client whose password follows its file."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(_with_present_secrets(config))
        _PASSWORDS.follow(self, config)

    def log_in_with(self, username: str, password: str) -> None:
        """Use this login from the next one on."""
        self.set_sasl_credentials(username, password)


@_all_free_handled
class Consumer(confluent_kafka.Consumer):
    """A consumer whose password follows its file.

    A call of a consumer excludes all others, so another thread that gave it the password would wait
    for a pause between two polls, perhaps for ever. The thread that polls takes it instead.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(_with_present_secrets(config))
        self._next_login: tuple[str, str] | None = None
        _PASSWORDS.follow(self, config)

    def log_in_with(self, username: str, password: str) -> None:
        """Use this login from the next one on that follows a call of one of the methods below."""
        self._next_login = username, password

    def _take_login(self) -> None:
        if self._next_login is not None:
            login, self._next_login = self._next_login, None
            self.set_sasl_credentials(*login)

    def poll(self, *args: Any, **options: Any) -> Message | None:
        """Return the next message, as `confluent_kafka.Consumer` does; so do the others."""
        self._take_login()
        return super().poll(*args, **options)

    def consume(self, *args: Any, **options: Any) -> list[Message]:
        """Return the next messages."""
        self._take_login()
        return super().consume(*args, **options)

    def list_topics(self, *args: Any, **options: Any) -> Any:
        """Return what brokers say of topics."""
        self._take_login()
        return super().list_topics(*args, **options)

    def committed(self, *args: Any, **options: Any) -> list[TopicPartition]:
        """Return the offsets that the group has committed."""
        self._take_login()
        return super().committed(*args, **options)

    def get_watermark_offsets(self, *args: Any, **options: Any) -> Any:
        """Return the first and the last offset of a partition."""
        self._take_login()
        return super().get_watermark_offsets(*args, **options)


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
                    client.log_in_with(login.username, password)
                    login.given = password


_PASSWORDS: Final = _Passwords()
