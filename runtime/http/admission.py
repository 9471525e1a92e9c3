"""Which requests a service looks at: checks of the headers that protect it from web pages.

A page of any origin can make a browser send requests to this machine, and a name of its own can be
made to point to it. Such requests are told by their headers.
"""

from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

from schemas.errors import Rejected

# A page can send forms and plain text anywhere, without asking. It must ask (CORS) before it sends
# any of these.
JSON_TYPES: Final = frozenset(
    {
        "application/json",
        "application/merge-patch+json",
        "application/x-ndjson",
        "application/jsonl",
    }
)
FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded"})
_HERE: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAME_SITE: Final = frozenset({b"same-origin", b"none"})


def admit(
    scope: Scope,
    headers: Mapping[bytes, bytes],
    origins: frozenset[str],
    media_types: frozenset[str],
    *,
    is_open: bool,
) -> None:
    """Raise `Rejected` unless the request may be looked at; `origins` are those of the setting."""
    if is_open:
        _require_here(headers)
    _require_origin(scope, headers, origins)
    if has_body(headers):
        media_type(headers.get(b"content-type", b"").decode("latin-1"), media_types)


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the request has a body."""
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def media_type(content_type: str, allowed: frozenset[str]) -> str:
    """Return the media type without its parameters. Raises `Rejected` if it is not `allowed`.

    Raises it also for a character set other than UTF-8, the only one that JSON has.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind not in allowed:
        raise Rejected(
            "the content type of the body is missing or not supported here",
            code="unsupported_media_type",
            next_step=f"send {' or '.join(sorted(allowed))}",
        )
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if "charset" in parameters.lower() and charset != "utf-8":
        raise Rejected("JSON is UTF-8", code="unsupported_media_type", next_step="send UTF-8")
    return kind


def _require_here(headers: Mapping[bytes, bytes]) -> None:
    """Raise `Rejected` unless the caller named this machine, and no proxy stands in between."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if name not in _HERE or b"x-forwarded-for" in headers or b"forwarded" in headers:
        raise Rejected(
            "this service has no keys, so it answers only requests to this machine by its name",
            code="host_not_allowed",
            next_step="call localhost or 127.0.0.1 directly, or set http_keys_file",
        )


def _require_origin(scope: Scope, headers: Mapping[bytes, bytes], origins: frozenset[str]) -> None:
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin:
        host = headers.get(b"host", b"").decode("latin-1")
        is_allowed = origin in origins or origin == f"{scope['scheme']}://{host}"
    else:
        # Images and scripts of a page are requested without an origin; following a link is fine.
        site = headers.get(b"sec-fetch-site", b"none")
        is_link = scope["method"] == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
        is_allowed = site in _SAME_SITE or is_link
    if not is_allowed:
        raise Rejected(
            "web pages of other origins may not call this service",
            code="origin_not_allowed",
            next_step="the setting http_cors_origins permits origins",
        )
