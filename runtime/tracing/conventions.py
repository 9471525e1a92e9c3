"""The names of spans and attributes: OpenTelemetry's conventions, and ours for what these lack.

OpenTelemetry's conventions for messaging are still in development, so their names change: nothing
else in rollbook spells them. What may hold personal data (path and query of a request, the fields
of a command or event, texts of errors) is no attribute.
"""

from typing import Final, TypeAlias

Attributes: TypeAlias = dict[str, str | int]

# The version of the semantic conventions that these names are from.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

ERROR_TYPE: Final = "error.type"
COMMAND_ID: Final = "rollbook.command.id"
COMMAND_KIND: Final = "rollbook.command.kind"
OUTCOME: Final = "rollbook.outcome"
CODE: Final = "rollbook.code"
USER_ID: Final = "rollbook.user.id"
USER_VERSION: Final = "rollbook.user.version"
READ_MODEL: Final = "rollbook.read_model"
READ_MODEL_VERSION: Final = "rollbook.read_model.version"

_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_SEND: Final = "send"
_PROCESS: Final = "process"


def service_attributes(service: str, instance: str, version: str) -> Attributes:
    """Return the attributes of the resource: which process the spans are from."""
    found: Attributes = {"service.version": version}
    if service:
        found["service.name"] = service
    if instance:
        found["service.instance.id"] = instance
    return found


def send_name(topic: str) -> str:
    """Return the name of a span that sends records."""
    return f"{_SEND} {topic}"


def process_name(topic: str) -> str:
    """Return the name of a span that processes records."""
    return f"{_PROCESS} {topic}"


def sending(topic: str, partition: int | None = None) -> Attributes:
    """Return the attributes of a span that sends records, to one partition if it is given."""
    return _messaging(_SEND, topic) | ({} if partition is None else _partition(partition))


def sent_at(offset: int) -> Attributes:
    """Return the attributes of a span whose record the broker has confirmed."""
    return {"messaging.kafka.offset": offset}


def processing(topic: str, group: str, partition: int, offset: int) -> Attributes:
    """Return the attributes of a span that processes one record."""
    place = _partition(partition) | sent_at(offset)
    return _messaging(_PROCESS, topic) | _group(group) | place


def processing_batch(topic: str, group: str, messages: int) -> Attributes:
    """Return the attributes of a span that processes many records together."""
    count: Attributes = {"messaging.batch.message_count": messages}
    return _messaging(_PROCESS, topic) | _group(group) | count


def _messaging(operation: str, topic: str) -> Attributes:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
    }


def _partition(number: int) -> Attributes:
    return {"messaging.destination.partition.id": str(number)}


def _group(name: str) -> Attributes:
    return {"messaging.consumer.group.name": name}


def request(method: str, scheme: str) -> Attributes:
    """Return the attributes of a span that answers a request."""
    known = method if method in _METHODS else "_OTHER"
    return {"http.request.method": known, "url.scheme": scheme}


def answer(route: str, status: int) -> Attributes:
    """Return the attributes of a request that was answered; both may be unknown."""
    found: Attributes = {}
    if route:
        found["http.route"] = route
    if status:
        found["http.response.status_code"] = status
    return found


def request_name(method: str, route: str = "") -> str:
    """Return the name of the span of a request; the route is its template, never the path."""
    known = method if method in _METHODS else "HTTP"
    return f"{known} {route}" if route else known
