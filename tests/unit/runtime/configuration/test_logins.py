"""No secret stays in a URL: errors, logs and `rollbook config show` print URLs."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from runtime.configuration.logins import Login, login_of_http, login_of_postgres
from runtime.settings import Settings, load_settings
from schemas.errors import Misconfigured

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("http://h:1", Login("http://h:1", "", "")),
        ("https://u:s3cret@h:1/x/", Login("https://h:1/x/", "u", SECRET)),
        ("http://u@h", Login("http://h", "u", "")),
        ("http://u:s3%40c%2Fret@[::1]:9200", Login("http://[::1]:9200", "u", "s3@c/ret")),
        ("http://u:s3@cret@h", Login("http://h", "u", "s3@cret")),
        ("http://:s3cret@h", Login("http://h", "", SECRET)),
        ("https://u:s3cret@h:1/x,https://g:2", Login("https://h:1/x,https://g:2", "u", SECRET)),
        ("http://u:s3,cret@h, http://u:s3,cret@g", Login("http://h,http://g", "u", "s3,cret")),
    ],
)
def test_the_login_of_an_http_url(url: str, login: Login) -> None:
    assert login_of_http(url) == login


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("postgresql://u@h:1/db", Login("postgresql://u@h:1/db", "u", "")),
        ("postgres://u:s3cret@h,g:2/db", Login("postgres://u@h,g:2/db", "u", SECRET)),
        ("postgresql://:s3cret@/db", Login("postgresql:///db", "", SECRET)),
        (
            "postgresql://u@/db?host=/run/pg&password=s3%20cret&sslmode=require",
            Login("postgresql://u@/db?host=/run/pg&sslmode=require", "u", "s3 cret"),
        ),
        ("postgresql://h/db?pass%77ord=s3cret", Login("postgresql://h/db", "", SECRET)),
        ("host=h  user = u password=s3cret", Login("host=h user=u", "", SECRET)),
        (
            r"host='/run/my pg' password='it\'s \\' port=1",
            Login("host='/run/my pg' port=1", "", "it's \\"),
        ),
    ],
)
def test_the_login_of_a_postgres_address(url: str, login: Login) -> None:
    """A user name is no secret and stays; the password may be in three places."""
    assert login_of_postgres(url) == login


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("registry_url", "http://u:s3cret/x@h:1"),
        ("registry_url", "http://u:s3cret#x@h:1"),
        ("registry_url", "http://u:s3cret[x@h:1"),
        ("registry_url", "http://u:s3cret@"),
        ("registry_url", "http://h:s3cret/"),
        ("elasticsearch_url", "http://h/?api_key=s3cret"),
        ("elasticsearch_url", "http://u:s3cret?x@h:1"),
        ("elasticsearch_url", "http://u:s3cret@h,http://u:another@g"),
        ("elasticsearch_username", "http://:s3cret@h"),
        ("registry_url", "http://u:s3cret@h:1,g:2"),
        ("postgres_url", "postgresql://u:s3cret/x@h/db"),
        ("postgres_url", "postgresql://u@h/db?sslpassword=s3cret"),
        ("postgres_url", "host=h sslpassword=s3cret"),
        ("postgres_url", "host=h password='s3cret"),
        ("kafka_bootstrap_servers", "u:s3cret@h:9092"),
    ],
)
def test_an_ambiguous_url_is_refused_without_being_quoted(name: str, url: str) -> None:
    """An unencoded character would make a part of the password a host, a path or a port."""
    with pytest.raises(Misconfigured) as refused:
        load_settings({name.replace("username", "url"): url})
    assert name in str(refused.value)
    assert SECRET not in f"{refused.value} {refused.value.next_step}"


def test_settings_move_logins_and_know_their_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLBOOK_REGISTRY_URL", f"http://reg:{SECRET}@h:1/apis")
    monkeypatch.setenv("ROLLBOOK_POSTGRES_URL", f"postgresql://pg:{SECRET}@h/db")
    loaded = load_settings()
    settings = loaded.settings
    assert (settings.registry_url, settings.registry_username) == ("http://h:1/apis", "reg")
    assert settings.postgres_url == "postgresql://pg@h/db"
    assert settings.registry_password == settings.postgres_password == SECRET
    for name in ("registry_username", "registry_password"):
        assert loaded.origins[name] == "environment ROLLBOOK_REGISTRY_URL"
    assert SECRET not in repr(settings)


def test_a_login_in_its_own_settings_takes_precedence() -> None:
    """Also for the password alone; a password of another user is never combined with it."""
    settings = Settings(elasticsearch_url="http://a:url@h", elasticsearch_password="own")
    assert (settings.elasticsearch_username, settings.elasticsearch_password) == ("a", "own")
    settings = Settings(elasticsearch_url="http://a:url@h", elasticsearch_username="b")
    assert (settings.elasticsearch_username, settings.elasticsearch_password) == ("b", "")
    assert replace(settings, elasticsearch_url="http://h").elasticsearch_username == "b"


def test_every_setting_that_may_hold_a_login_is_separated() -> None:
    """A new URL among the settings must be separated too, or refuse a login."""
    for spec in fields(Settings):
        if not spec.name.endswith("_url"):
            continue
        service = spec.name.removesuffix("_url")
        scheme = "postgresql" if service == "postgres" else "http"
        flags = {spec.name: f"{scheme}://u:{SECRET}@h/x"}
        if service.startswith(("http_", "kafka_")):
            with pytest.raises(Misconfigured, match=spec.name) as refused:
                load_settings(flags)
            assert SECRET not in str(refused.value)
            continue
        settings = load_settings(flags).settings
        assert SECRET not in getattr(settings, spec.name)
        assert getattr(settings, f"{service}_password") == SECRET


def test_files_with_a_bom_and_windows_line_ends(tmp_path: Path) -> None:
    """Editors of Windows write them; neither becomes a part of a name or a password."""
    secret, toml = tmp_path / "secret", tmp_path / "rollbook.toml"
    secret.write_bytes(b"\xef\xbb\xbfs3cret\r\n")
    toml.write_bytes(f'\ufeffpostgres_password_file = "{secret}"\r\n'.encode())
    assert load_settings(config=str(toml)).settings.postgres_password == SECRET


@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}\0", f"{SECRET}/x", SECRET * 100])
def test_a_secret_in_place_of_its_file_is_refused_without_being_quoted(
    secret: str, tmp_path: Path
) -> None:
    toml = tmp_path / "rollbook.toml"
    toml.write_text(f"kafka_sasl_password_file = {json.dumps(secret)}\n")
    with pytest.raises(Misconfigured, match="kafka_sasl_password") as refused:
        load_settings(config=str(toml))
    assert SECRET not in f"{refused.value} {refused.value.next_step}"


@pytest.mark.parametrize("name", ["postgres_password_file", "rollbook.toml"])
def test_a_file_that_is_not_text_is_refused_without_a_byte_of_it(name: str, tmp_path: Path) -> None:
    secret, toml = tmp_path / "secret", tmp_path / "rollbook.toml"
    secret.write_bytes(b"s3cret\xff")
    toml.write_text(f'postgres_password_file = "{secret}"\n')
    config = str(toml if name == "postgres_password_file" else secret)
    with pytest.raises(Misconfigured, match="not UTF-8") as refused:
        load_settings(config=config)
    assert "ff" not in str(refused.value).replace(str(tmp_path), "")
