"""The services on the secure stack: with TLS, keys and tokens, each with the login of its role."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from runtime.callers.caller import Scope
from runtime.callers.key_file import add_key, new_key, revoke_key
from tests.samples.certificates import certificate_pem, private_key_pem
from tests.samples.key_set import NAME, KeySet
from tests.started.processes import Rollbook, RunningProcess, eventually
from tests.started.roles import SECURE
from tests.started.services import Service

pytestmark = pytest.mark.skipif(not SECURE, reason="needs the secure stack: ROLLBOOK_TEST_SECURE=1")
JANE: Final = {"email": "jane@example.com", "name": "Jane", "age": 34}
BOTH: Final = frozenset({Scope.COMMANDS, Scope.QUERIES})


class System:
    """Both services and the console, over TLS; `credentials` name what callers may send."""

    def __init__(self, rollbook: Rollbook, issuer: KeySet, stack: ExitStack) -> None:
        directory = rollbook.directory
        self.authority = str(directory / "certificate.pem")
        Path(self.authority).write_bytes(certificate_pem())
        (directory / "key.pem").write_bytes(private_key_pem())
        self.keys = directory / "keys.json"
        rollbook.overrides |= {
            "ROLLBOOK_HTTP_TLS_CERTIFICATE": self.authority,
            "ROLLBOOK_HTTP_TLS_KEY": str(directory / "key.pem"),
            "ROLLBOOK_HTTP_CA_LOCATION": self.authority,
            "ROLLBOOK_HTTP_KEYS_FILE": str(self.keys),
            "ROLLBOOK_HTTP_JWT_ISSUER": NAME,
            "ROLLBOOK_HTTP_JWT_AUDIENCE": "rollbook",
            "ROLLBOOK_HTTP_JWT_KEYS_URL": f"http://127.0.0.1:{issuer.server.server_port}/keys",
        }
        self.key = self.add_key(BOTH)
        self.commands, self.queries = (
            self._serve(rollbook, stack, name) for name in ("commands", "queries")
        )
        for service in (self.commands, self.queries):
            name = "COMMANDS" if service is self.commands else "QUERIES"
            rollbook.overrides[f"ROLLBOOK_HTTP_{name}_URL"] = service.url
        self.console = self._serve(rollbook, stack, "console")

    def _serve(self, rollbook: Rollbook, stack: ExitStack, name: str) -> Service:
        service = Service(rollbook, name, authority=self.authority)
        stack.callback(service.http.close)
        assert service.url.startswith("https://")
        return service

    def add_key(self, scopes: frozenset[Scope], **options: Any) -> str:
        """Add a key; return its text."""
        key, text = new_key("anna", scopes, **options)
        add_key(self.keys, key)
        return text

    def revoked_key(self) -> str:
        """Return a key that was valid before."""
        text = self.add_key(BOTH)
        revoke_key(self.keys, text.split("_")[1])
        return text


@pytest.fixture
def issuer() -> Iterator[KeySet]:
    keys = KeySet()
    yield keys
    keys.close()


@pytest.fixture
def system(rollbook: Rollbook, issuer: KeySet) -> Iterator[System]:
    with ExitStack() as stack:
        yield System(rollbook, issuer, stack)


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


def test_callers_with_a_key_or_a_token_are_served_and_nobody_else(
    system: System, issuer: KeySet, handler: RunningProcess, projectors: dict[str, RunningProcess]
) -> None:
    for number, valid in enumerate((system.key, issuer.token())):
        created = system.commands.http.post(
            "/users", json=JANE | {"email": f"u{number}@example.com"}, headers=bearer(valid)
        )
        assert created.status_code == 201, created.text
        assert_reads_everything(system, created, valid)

    other = KeySet()
    other.close()
    unknown = (
        "",
        "rbk_0_0",
        f"{system.key[:-1]}?",
        system.revoked_key(),
        system.add_key(BOTH, expires_at=datetime.now(UTC) - timedelta(seconds=1)),
        issuer.token(exp=time.time() - 600),
        issuer.token(aud="another"),
        issuer.token(iss="https://other.example"),
        other.token(),
    )
    for credential in (system.add_key(frozenset({Scope.ERASE})), issuer.token(scope="openid")):
        # The services read a file of keys that has changed within about a second.
        eventually(partial(is_refused, system, credential, "scope_missing"))
    for credential in unknown:
        assert is_refused(system, credential, "unauthenticated"), credential
    operation = system.queries.http.post("/verify", headers=bearer(system.key))
    assert operation.json()["code"] == "operations_not_served"


def is_refused(system: System, credential: str, code: str) -> bool:
    """Return whether both services refuse a caller with this code."""
    given = bearer(credential) if credential else {}
    answers = (
        system.commands.http.post("/users", json=JANE, headers=given),
        system.queries.http.get("/users", headers=given),
    )
    return all(answer.json().get("code") == code for answer in answers)


def assert_reads_everything(system: System, created: httpx2.Response, valid: str) -> None:
    """Each kind of query is answered with the login that may only read."""
    user_id, http = created.json()["user_id"], system.queries.http
    after = bearer(valid) | {"rollbook-after": created.headers["rollbook-token"]}
    for path in (
        f"/users/{user_id}",
        f"/users/{user_id}?at_version=1",
        f"/users/{user_id}/history",
        "/users",
        "/summary",
        "/creations",
        "/search?text=jane",
        "/suggest?prefix=ja",
    ):
        answer = http.get(path, headers=after)
        assert answer.status_code == 200, (path, answer.text)
    events = http.get("/events?from=beginning&follow=false", headers=bearer(valid))
    assert user_id in events.text
    models = http.get("/read-models", headers=bearer(valid)).json()["read_models"]
    assert all(model["error"] is None for model in models), models


def test_without_tls_or_its_authority_there_is_no_answer(system: System) -> None:
    for service in (system.commands, system.queries, system.console):
        with pytest.raises(httpx2.ConnectError, match="self-signed"):
            httpx2.get(f"{service.url}/livez", trust_env=False)
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"http://127.0.0.1:{service.port}/livez", trust_env=False)


def test_the_console_calls_both_services_over_tls(
    system: System, handler: RunningProcess, projectors: dict[str, RunningProcess]
) -> None:
    http = system.console.http
    http.headers["origin"] = system.console.url
    for key, shown in ((f"{system.key[:-1]}?", "not known"), (system.key, "")):
        answer = http.post("/sign-in", data={"token": form_token(http, "/sign-in"), "key": key})
        assert shown in answer.text
    form = {"token": form_token(http, "/users/new"), "command_id": "c-1", **JANE}
    created = http.post("/users/new", data=form)
    assert created.status_code == 303, created.text
    assert "Jane" in http.get(created.headers["location"]).text
    page = http.get("/read-models").text
    assert "Rebuild" not in page  # the service only reads
    assert 'href="/check"' not in page


def form_token(http: httpx2.Client, path: str) -> str:
    """Return the token that a form of the page sends."""
    found = re.search(r'name="token" value="([^"]+)"', http.get(path).text)
    assert found
    return found[1]
