"""The console without any service: who sees a page, which forms are carried out."""

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.testclient import TestClient

from runtime.callers.caller import ALL_SCOPES
from runtime.callers.key_file import add_key, new_key
from runtime.settings import load_settings
from scripts.console.application import console_of
from scripts.console.pages import FOLDER, part
from tests.samples.certificates import certificate_pem, private_key_pem

NOWHERE = "http://127.0.0.1:9"  # nothing listens there
STYLESHEET_LINES = 300


class Keys(NamedTuple):
    """A file of keys, and the text of the only one in it."""

    file: str
    text: str


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    key, text = new_key("anna", ALL_SCOPES)
    add_key(tmp_path / "keys.json", key)
    return Keys(str(tmp_path / "keys.json"), text)


def browser(
    keys_file: str = "",
    url: str = "http://127.0.0.1:18084",
    services: str = NOWHERE,
    authority: str = "",
) -> TestClient:
    """Return a browser for a console of its own."""
    flags = dict.fromkeys(("http_commands_url", "http_queries_url"), services)
    flags |= {"http_keys_file": keys_file, "http_ca_location": authority}
    settings = load_settings(flags).settings
    return TestClient(console_of(settings), base_url=url)


@pytest.fixture
def anyone() -> Iterator[TestClient]:
    """A browser at a console that requires no key."""
    with browser() as opened:
        yield opened


def token_in(text: str) -> str:
    found = re.search('name="token" value="([0-9a-f]{64})"', text)
    assert found
    return found[1]


def test_without_keys_everybody_is_signed_in(anyone: TestClient) -> None:
    assert "<h1>Check</h1>" in anyone.get("/check").text
    assert anyone.get("/check", headers={"host": "rebound.example"}).status_code == 403


def test_with_keys_a_page_asks_to_sign_in_first(keys: Keys) -> None:
    """Only with a key of the console's file does it ask the services, which may have none."""
    with browser(keys.file) as opened:
        answer = opened.get("/read-models?job=1")
        assert answer.url.path == "/sign-in"
        assert 'name="next" value="/read-models?job=1"' in answer.text
        assert 'value="/users"' in opened.get("/sign-in?next=//evil.example/").text
        form = {"key": keys.text, "token": token_in(answer.text)}
        assert "does not answer" in opened.post("/sign-in", data=form).text
        for unknown in ("rbk_0_0", "ключ\n", "a.b.c"):
            refused = opened.post("/sign-in", data={**form, "key": unknown})
            assert "the key is not known" in refused.text
        assert opened.get("/check").url.path == "/sign-in"


class _Refusing(BaseHTTPRequestHandler):
    """A service that has keys."""

    status, body = 401, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None: ...


class _OnlyReading(_Refusing):
    """A service without operations."""

    def do_GET(self) -> None:
        is_job = self.path == "/jobs"
        self.status = 404 if is_job else 200
        self.body = b'{"code": "operations_not_served"}' if is_job else b'{"read_models": []}'
        super().do_GET()


@contextmanager
def browser_of(service: type[_Refusing]) -> Iterator[TestClient]:
    """Yield a browser for a console of such services."""
    with HTTPServer(("127.0.0.1", 0), service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with browser(services=f"http://127.0.0.1:{server.server_address[1]}") as opened:
            yield opened
        server.shutdown()


def test_the_services_must_show_a_certificate_that_the_console_trusts(tmp_path: Path) -> None:
    ours, key = tmp_path / "ours.pem", tmp_path / "key.pem"
    ours.write_bytes(certificate_pem())
    key.write_bytes(private_key_pem())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ours, key)
    with HTTPServer(("127.0.0.1", 0), _OnlyReading) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        services = f"https://127.0.0.1:{server.server_address[1]}"
        with browser(services=services, authority=str(ours)) as opened:
            assert "<h1>Read models</h1>" in opened.get("/read-models").text
        with browser(services=services) as opened:
            page = opened.get("/read-models").text
        server.shutdown()
    assert "certificate of the service for queries cannot be trusted" in page
    assert "http_ca_location" in page


def test_only_the_services_may_have_keys() -> None:
    with browser_of(_Refusing) as opened:
        assert "<h1>Sign in</h1>" in opened.get("/users").text


def test_what_the_service_does_not_offer_is_not_shown(anyone: TestClient) -> None:
    with browser_of(_OnlyReading) as opened:
        page = opened.get("/read-models").text
    assert 'href="/figures"' in page
    assert 'href="/check"' not in page
    assert 'href="/dead-letters"' not in page
    assert 'href="/check"' in anyone.get("/check").text


def test_a_command_may_not_have_a_name_that_stands_for_another_place(anyone: TestClient) -> None:
    for name in (".", ".."):
        assert "nothing here has this name" in anyone.get(f"/commands?id={name}").text


def test_the_cookie_is_out_of_reach_and_changes_on_signing_in(keys: Keys) -> None:
    with browser() as opened:
        cookie = opened.get("/sign-in", follow_redirects=False).headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        before = opened.cookies["rollbook-18084"]
        opened.get("/sign-in")
        assert opened.cookies["rollbook-18084"] != before
    with browser(keys.file, "https://127.0.0.1:18084") as opened:
        cookie = opened.get("/sign-in").headers["set-cookie"]
        assert "Secure" in cookie
        assert cookie.startswith("__Host-rollbook-18084=")


def test_a_form_is_carried_out_only_with_the_token_of_its_browser(anyone: TestClient) -> None:
    """The service does not run, so a form that is carried out ends with 503."""
    token = token_in(anyone.get("/check").text)
    with browser() as other:
        foreign = token_in(other.get("/check").text)
    assert anyone.post("/check", data={"token": token}).status_code == 503
    for given in ({}, {"token": ""}, {"token": foreign}, {"token": "ä"}):
        assert anyone.post("/check", data=given).status_code == 403
    assert anyone.post("/check", json={"token": token}).status_code == 415
    elsewhere = {"origin": "https://evil.example"}
    assert anyone.post("/check", data={"token": token}, headers=elsewhere).status_code == 403
    anyone.post("/sign-out", data={"token": token}, follow_redirects=False)
    assert anyone.post("/check", data={"token": token}, follow_redirects=False).status_code == 303


def test_a_refused_form_is_logged_without_its_address(
    anyone: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    anyone.get("/check")
    anyone.post("/users/a%0Ajane@example.com/update", data={})
    assert "/users/{user_id}/update" in caplog.text
    assert "jane" not in caplog.text


def test_every_answer_forbids_what_is_inline_or_from_elsewhere(anyone: TestClient) -> None:
    for path in ("/check", "/users", "/static/console.js", "/no-such-page"):
        policy = anyone.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy


def test_a_mistyped_address_gets_a_page(anyone: TestClient, keys: Keys) -> None:
    """Whoever is not signed in gets no menu."""
    anyone.get("/check")
    for method, path, status in (("GET", "/no-such-page", 404), ("POST", "/users", 405)):
        answer = anyone.request(method, path)
        assert answer.status_code == status
        assert "there is no such page" in answer.text
        assert "<nav" in answer.text
    with browser(keys.file) as opened:
        assert "<nav" not in opened.get("/no-such-page").text


def test_no_page_needs_what_the_policy_forbids() -> None:
    texts = [file.read_text() for file in (FOLDER / "templates").glob("*.html")]
    for text in [*texts, (FOLDER / "static" / "console.js").read_text()]:
        assert not re.search(r"<script(?![^>]* src=)|\sstyle=|\son[a-z]+=|javascript:|\|safe", text)
        assert "://" not in text
    stylesheet = (FOLDER / "static" / "console.css").read_text()
    assert "url(" not in stylesheet
    assert len(stylesheet.splitlines()) < STYLESHEET_LINES


def test_what_a_service_answers_stays_text() -> None:
    evil = "<img src=x onerror=alert(1)>"
    user = {
        "user_id": evil,
        "name": evil,
        "email": evil,
        "age": 1,
        "age_group": evil,
        "updated_at": evil,
        "highlights": {"name": f"<em>&lt;b&gt;</em>{evil}"},
    }
    text = part("_found.html", found={"facets": None, "users": [user]}, more=None)
    assert "<mark>&lt;b&gt;</mark>&lt;img" in text
    assert "<img" not in text
