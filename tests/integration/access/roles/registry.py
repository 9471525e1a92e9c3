"""Everything that a login can try at the schema registry."""

import json
from typing import Final
from urllib.parse import urlsplit

from runtime.settings import Settings
from schemas.coding.codec import schema_text
from schemas.topics import SCHEMAS
from tests.integration.access.roles.web import Attempts, WebLogin

_REFUSED: Final = {401, 403}
_API: Final = "/apis/ccompat/v7"
_RULE: Final = {"compatibility": "FULL_TRANSITIVE"}
_FOREIGN: Final = {"schema": json.dumps({"type": "record", "name": "Foreign", "fields": []})}
# Whatever the registry offers beside our schemas.
_OTHERS: Final = (
    ("GET", f"{_API}/subjects", None),
    ("GET", f"{_API}/schemas/ids/1", None),
    ("GET", f"{_API}/schemas/ids/1/versions", None),
    ("GET", f"{_API}/config", None),
    ("PUT", f"{_API}/config", {"compatibility": "NONE"}),
    ("GET", f"{_API}/mode", None),
    ("PUT", f"{_API}/mode", {"mode": "READONLY"}),
    ("GET", f"{_API}/contexts", None),
    ("POST", f"{_API}/subjects/foreign", _FOREIGN),
    ("POST", f"{_API}/subjects/foreign/versions", _FOREIGN),
    ("GET", "/apis/ccompat/v8/subjects", None),
    ("POST", "/apis/ccompat/v8/subjects/foreign/versions", _FOREIGN),
    ("GET", "/apis/registry/v3/search/artifacts", None),
    ("GET", "/apis/registry/v3/admin/config/properties", None),
    ("POST", "/apis/registry/v3/groups/default/artifacts", {"artifactId": "foreign"}),
    ("DELETE", "/apis/registry/v3/groups/default/artifacts", None),
    ("GET", "/apis/registry/v3/admin/export", None),
    ("POST", "/apis/registry/v3/admin/import", None),
    ("GET", "/apis/registry/v2/search/artifacts", None),
    ("GET", "/health/ready", None),
    ("GET", "/metrics", None),
    ("GET", "/q/openapi", None),
    ("GET", "/", None),
)


def attempts(settings: Settings, login: tuple[str, str] | None) -> Attempts:
    """Return attempt → whether it was permitted, of a login or of nobody."""
    found: Attempts = {}
    with WebLogin(settings.registry_url, settings.registry_ca_location, login) as web:
        for name in SCHEMAS:
            text = schema_text(name)
            subject = f"rollbook.{json.loads(text)['name']}"
            for what, method, path, body in (
                ("look-up", "POST", f"/subjects/{subject}", {"schema": text}),
                ("read-rule", "GET", f"/config/{subject}", None),
                ("list-versions", "GET", f"/subjects/{subject}/versions", None),
                ("register", "POST", f"/subjects/{subject}/versions", {"schema": text}),
                ("set-rule", "PUT", f"/config/{subject}", _RULE),
                ("drop-rule", "DELETE", f"/config/{subject}", None),
                ("delete-version", "DELETE", f"/subjects/{subject}/versions/99", None),
                ("delete", "DELETE", f"/subjects/{subject}", None),
            ):
                answer = web.ask(method, _API + path, body)
                found[what, subject] = answer.status not in _REFUSED
        for method, path, body in _OTHERS:
            answer = web.ask(method, path, body)
            found[method, path] = answer.status not in _REFUSED
    return found


def disguised_registrations(settings: Settings, login: tuple[str, str]) -> dict[str, int]:
    """Return each way to write a request for registration → the status of its answer."""
    body = {"schema": schema_text(SCHEMAS[0])}
    subject = f"rollbook.{json.loads(schema_text(SCHEMAS[0]))['name']}"
    path = f"/subjects/{subject}/versions"
    assert urlsplit(settings.registry_url).path == _API
    with WebLogin(settings.registry_url, settings.registry_ca_location, login) as web:
        found = {
            written: web.ask("POST", written, body).status
            for written in (
                f"{_API}{path}/",
                f"/{_API}{path}",
                f"{_API}/.{path}",
                f"{_API}/x/..{path}",
                f"{_API}/%2e{path}",
                f"{_API}/subjects/{subject}%2Fversions",
                f"{_API}/subjects/{subject};x/versions",
                f"{_API}{path};x=y",
                f"{_API}{path}%3F",
                f"{_API.upper()}{path}",
            )
        }
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            answer = web.ask("GET", f"{_API}{path}", body, [(name, "POST")])
            found[f"{name}: POST"] = answer.status
        return found
