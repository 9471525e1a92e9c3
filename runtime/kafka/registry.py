"""The schema registry: looks up the ids of our schemas, and the schemas of ids found on the log.

Only `ensure` registers schemas; it is part of a deployment, so a running process needs no right to
do it (docs/decisions/0039). Schemas are registered under the name of their record
(`rollbook.UserEvent`), not per topic: two topics have the same record, and several prefixes on one
cluster share one contract.
"""

import base64
import json
import ssl
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import (
    BaseHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from runtime.configuration.logins import urls_of
from runtime.kafka.unknown_schemas import UnknownSchemas
from runtime.network.tls import client_context, http_server, tls_failure, why_tls_fails
from runtime.settings import Settings
from schemas.coding.codec import RecordCodec, schema_text
from schemas.errors import (
    CHECK_SERVER,
    GRANT,
    Forbidden,
    Misconfigured,
    TlsFailed,
    Unavailable,
)
from schemas.formats import earlier_schemas
from schemas.topics import SCHEMAS

COMPATIBILITY = "FULL_TRANSITIVE"
# Two attempts: so a command reports within 15 s that the registry does not answer.
_ATTEMPTS = 2
_TIMEOUT_SECONDS = 5
_RETRY_SECONDS = 0.5
_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
# Apicurio answers 409 to one of two clients that change the same subject at the same time. Only a
# second 409 means that the schemas are incompatible.
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT}


class Registry:
    """Our schemas in the registry; their ids are stable. Thread-safe.

    It takes three plain requests. Confluent's client for them takes 0.5 s of processor time to
    import, longer than everything else that a command does (docs/decisions/0020).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # The node that answered last comes first.
        self._urls = deque(url.rstrip("/") for url in urls_of(settings.registry_url))
        self._opener = _new_opener(settings, self._urls[0])
        self._unknown = UnknownSchemas()
        # Our own texts by id: reading records that have them needs no further request.
        self._texts: dict[int, str] = {}
        self._codecs: dict[str, RecordCodec[Any]] = {}

    def ensure(self) -> dict[str, int]:
        """Register every schema as FULL_TRANSITIVE; return schema file → id. Idempotent.

        Raises `Misconfigured` if the registry has an incompatible schema of the same name.
        """
        ids = {}
        for name in SCHEMAS:
            subject, ids[name] = self._register(schema_text(name))
            self._request("PUT", f"config/{subject}", subject, {"compatibility": COMPATIBILITY})
        return ids

    def find(self, text: str) -> tuple[int, str] | None:
        """Return the id of a schema and the rule for its changes; None if it is not registered.

        The rule is '' if the registry has none for this schema.
        """
        schema_id, subject = self._id_of(text), _subject(text)
        if schema_id is None:
            return None
        try:
            config = self._request("GET", f"config/{subject}", subject)
        except _UnknownSchemaError:
            config = {}
        return schema_id, config.get("compatibilityLevel", "")

    def codec(
        self, name: str, schema_by_id: Callable[[int], str] | None = None
    ) -> RecordCodec[Any]:
        """Return the codec of the schema file `name`, with the id that the registry has for it.

        It knows the schemas that earlier formats of the log have for the record, and looks up all
        others with `schema_by_id`; by default with the method of this name, and then later calls
        return the same codec without asking the registry again.
        Raises `Misconfigured` if a schema is not registered (`missing_schema`), or the registry has
        another schema under the id of ours.
        """
        if schema_by_id is not None:
            return self._new_codec(name, schema_by_id)
        if name not in self._codecs:
            self._codecs[name] = self._new_codec(name, self.schema_by_id)
        return self._codecs[name]

    def _new_codec(self, name: str, schema_by_id: Callable[[int], str]) -> RecordCodec[Any]:
        for earlier in earlier_schemas(name):
            self._registered_id(schema_text(earlier))
        text = schema_text(name)
        subject, schema_id = _subject(text), self._registered_id(text)
        stored = self._request("GET", f"schemas/ids/{schema_id}", subject)["schema"]
        if json.loads(stored).get("name") != json.loads(text)["name"]:
            raise Misconfigured(
                f"id {schema_id} of {subject} belongs to another schema in the registry",
                code="registry_mismatch",
                next_step="restore its storage: ids on the log must keep their meaning",
            )
        return RecordCodec(name, schema_id, schema_by_id)

    def schema_by_id(self, schema_id: int) -> str:
        """Return the text of schema `schema_id`.

        Raises `Poisoned` (`unknown_schema`) if the registry has no such Avro schema, also from
        memory (see `UnknownSchemas`), `Unavailable` if the registry cannot be reached.
        """
        if schema_id in self._texts:
            return self._texts[schema_id]
        self._unknown.check(schema_id)
        try:
            found = self._request("GET", f"schemas/ids/{schema_id}", str(schema_id))
        except _UnknownSchemaError:
            found = {}
        text = found.get("schema")
        # The registry names the type of a schema only if it is not Avro.
        if not isinstance(text, str) or found.get("schemaType", "AVRO") != "AVRO":
            raise self._unknown.added(schema_id)
        return text

    def _register(self, text: str) -> tuple[str, int]:
        """Register a schema; return its subject and its id."""
        subject = _subject(text)
        body = {"schema": text, "schemaType": "AVRO"}
        answer = self._request("POST", f"subjects/{subject}/versions", subject, body)
        return subject, int(answer["id"])

    def _registered_id(self, text: str) -> int:
        schema_id = self._id_of(text)
        if schema_id is None:
            raise Misconfigured(
                f"the schema registry at {self._settings.registry_url} lacks a schema of this "
                f"release for {_subject(text)}",
                code="missing_schema",
                next_step="`rollbook topics ensure` registers it, with a login that may",
            )
        self._texts[schema_id] = text
        return schema_id

    def _id_of(self, text: str) -> int | None:
        """Return the id of a schema, looked up by its text; None if it is not registered."""
        subject = _subject(text)
        try:
            found = self._request("POST", f"subjects/{subject}", subject, {"schema": text})
        except _UnknownSchemaError:
            self._request("GET", "subjects", subject)  # raises if its URL is wrong
            return None
        return int(found["id"])

    def _request(
        self, method: str, path: str, subject: str, body: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a request about `subject` and return the answer; retry temporary failures.

        Each attempt is made at the next node. No connection is kept, because a process needs the
        registry only a few times.
        """
        data = None if body is None else json.dumps(body).encode()
        attempts = max(_ATTEMPTS, len(self._urls))
        for attempt in range(1, attempts + 1):
            # The setting allows only http and https.
            url = f"{self._urls[0]}/{path}"
            request = Request(url, data, self._headers(), method=method)  # noqa: S310
            try:
                with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                    found: dict[str, Any] = json.loads(answer.read())
                    return found
            except HTTPError as error:
                with error:
                    transient = error.code in _TRANSIENT or error.code >= 500  # noqa: PLR2004
                if not transient or attempt == attempts:
                    raise self._failure(error, subject) from error
            except (OSError, HTTPException, ValueError) as error:
                is_tls = isinstance(error, URLError) and isinstance(error.reason, ssl.SSLError)
                if is_tls or attempt == attempts:
                    raise self._failure(error, subject) from error
            self._urls.rotate(-1)
            time.sleep(_RETRY_SECONDS)
        raise AssertionError("the last attempt returns or raises")

    def _headers(self) -> dict[str, str]:
        """Return the headers of one request: the password may be another than before."""
        headers = {"Accept": _CONTENT_TYPE, "Content-Type": _CONTENT_TYPE}
        if self._settings.registry_username:
            password = self._settings.secret("registry_password")
            login = f"{self._settings.registry_username}:{password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        return headers

    def _failure(self, error: Exception, subject: str) -> Unavailable | Misconfigured:
        status = error.code if isinstance(error, HTTPError) else None
        where = f"the schema registry at {self._settings.registry_url}"
        if status == HTTPStatus.NOT_FOUND:
            return _UnknownSchemaError(
                f"no schema registry answers at {self._settings.registry_url} (404)",
                code="bad_setting",
                next_step="correct the setting registry_url: it ends like /apis/ccompat/v7",
            )
        if status == HTTPStatus.CONFLICT:
            return Misconfigured(
                f"the registry has an incompatible schema for {subject}",
                code="incompatible_schema",
                next_step="this rollbook is older or newer than the log; use the matching one",
            )
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return Forbidden(
                f"{where} denies access (status {status}): to look up "
                f"{subject}, and for `rollbook topics ensure` to register it, must be permitted to "
                "registry_username",
                code="registry_forbidden",
                next_step=GRANT,
            )
        if status is not None and status not in _TRANSIENT and status < 500:  # noqa: PLR2004
            return Misconfigured(
                f"{where} refused a request for {subject} (status {status})",
                code="registry_refused",
                next_step="is it a registry with Confluent's API, at the path of registry_url?",
            )
        reason = error.reason if isinstance(error, URLError) and status is None else error
        if status is None and (trouble := self._tls_trouble(reason)):
            return trouble
        return Unavailable(
            f"{where} failed: {reason}",
            code="registry_unavailable",
            next_step=CHECK_SERVER,
        )

    def _tls_trouble(self, reason: object) -> TlsFailed | None:
        """Return what is wrong with TLS, if that is why a request failed."""
        server = http_server("registry", self._urls[0], self._settings.registry_ca_location)
        if isinstance(reason, ssl.SSLError):
            return tls_failure(server, reason)
        return None if server.uses_tls else why_tls_fails(server)


def _new_opener(settings: Settings, url: str) -> OpenerDirector:
    """Return what opens connections to the registry.

    As to all other servers, without the proxies that the environment names: those are for the
    internet, and most do not know the names of these servers.
    """
    handlers: list[BaseHandler] = [ProxyHandler({}), _NoRedirects()]
    if url.startswith("https://"):
        handlers.append(HTTPSHandler(context=client_context(settings.registry_ca_location)))
    return build_opener(*handlers)


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect, which would send the login to whatever host it names."""

    def redirect_request(self, *_: object) -> None:
        """Return None: the redirect itself is the answer, which is refused."""


def _subject(text: str) -> str:
    return f"rollbook.{json.loads(text)['name']}"


class _UnknownSchemaError(Misconfigured):
    """The registry answered 404: it has no schema of this id, or its URL is wrong."""
