"""Requests to the servers that are reached over HTTP, exactly as they are written here."""

import base64
import json
import ssl
from collections.abc import Iterable
from http.client import HTTPSConnection
from typing import Any, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

# Operation and what it was tried on → whether it was permitted.
Attempts: TypeAlias = dict[tuple[str, str], bool]


class Answer(NamedTuple):
    """The status of an answer and its body, None unless it is JSON."""

    status: int
    body: Any


class WebLogin:
    """A login at a server, as a context manager. `login` is name and password, or None."""

    def __init__(self, url: str, ca_file: str, login: tuple[str, str] | None) -> None:
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=ca_file)
        self._connection = HTTPSConnection(
            parts.hostname or "", parts.port, context=context, timeout=60
        )
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if login is not None:
            text = base64.b64encode(":".join(login).encode()).decode()
            self._headers["Authorization"] = f"Basic {text}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(
        self, method: str, path: str, body: object = None, headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        """Send a request; several objects in a list become lines."""
        if isinstance(body, list):
            text = "".join(json.dumps(line) + "\n" for line in body)
        else:
            text = "" if body is None else json.dumps(body)
        self._connection.request(method, path, text or None, self._headers | dict(headers))
        answer = self._connection.getresponse()
        content = answer.read()
        try:
            return Answer(answer.status, json.loads(content))
        except ValueError:
            return Answer(answer.status, None)
