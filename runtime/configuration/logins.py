"""Separates user names and passwords from URLs, so that no message and no list shows a secret.

Errors, logs and `rollbook config show` print URLs. So a login is taken out of a URL when settings
are loaded, and kept in settings of its own.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

_ENCODE: Final = (
    "must have @, /, ?, #, [ and ] in its user name and password written as "
    "%40, %2F, %3F, %23, %5B and %5D"
)
# Parameters of libpq that are secrets, besides the password.
_OTHER_SECRETS: Final = {"sslpassword", "oauth_client_secret", "scram_client_key"}
# One parameter of a libpq connection string: a name and a value, which may be quoted.
_PARAMETER: Final = re.compile(r"\s*(\w+)\s*=\s*('(?:\\.|[^'\\])*'|(?!')(?:\\.|[^\s\\])*)(?=\s|$)")


class Login(NamedTuple):
    """A URL without secrets, and the user name and password that it had; '' if it had none."""

    url: str
    username: str
    password: str


def urls_of(text: str) -> list[str]:
    """Return the URLs of a setting that may name several nodes: whole URLs with commas between."""
    return re.split(r",\s*(?=\w+://)", text)


def login_of_http(text: str) -> Login:
    """Return the parts of one http URL or several, which must have the same login or none.

    Raises ValueError, whose message is a rule for the URL and repeats nothing of it.
    """
    parts = [_login_of_one(url) for url in urls_of(text)]
    logins = {(part.username, part.password) for part in parts} - {("", "")}
    if len(logins) > 1:
        raise ValueError("must have the same user name and password in all its URLs")
    username, password = logins.pop() if logins else ("", "")
    return Login(",".join(part.url for part in parts), username, password)


def _login_of_one(url: str) -> Login:
    login, place, rest = _split(url)
    if "?" in rest or "#" in rest:
        raise ValueError("must not have a ? or #")
    if login and not place:
        raise ValueError("must have a host after the @")
    username, _, password = login.partition(":")
    scheme = url.partition("://")[0]
    return Login(f"{scheme}://{place}{rest}", unquote(username), unquote(password))


def login_of_postgres(url: str) -> Login:
    """Return the parts of a PostgreSQL URL or libpq connection string; its user name stays in it.

    Raises ValueError as `login_of_http` does.
    """
    if "://" not in url:
        return _login_of_connection_string(url)
    login, place, rest = _split(url)
    username, _, password = login.partition(":")
    path, _, query = rest.partition("?")
    kept = []
    for parameter in filter(None, query.split("&")):
        name, _, value = parameter.partition("=")
        if unquote(name) == "password":
            password = value
        else:
            _refuse_secret(unquote(name))
            kept.append(parameter)
    user = f"{username}@" if username else ""
    query = f"?{'&'.join(kept)}" if kept else ""
    scheme = url.partition("://")[0]
    return Login(f"{scheme}://{user}{place}{path}{query}", unquote(username), unquote(password))


def _split(url: str) -> tuple[str, str, str]:
    """Return the login, the host with its port, and what follows."""
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        raise ValueError(_ENCODE) from None
    login, _, place = netloc.rpartition("@")
    rest = url.partition("://")[2][len(netloc) :]
    if "@" in rest or not url.partition("://")[2].startswith(netloc):
        raise ValueError(_ENCODE)
    for host in place.split(","):  # PostgreSQL's URL may name several
        if not re.search(r"^[^:\[\]]*(:\d*)?$|^\[[^\[\]]*\](:\d*)?$", host):
            raise ValueError("must have a host, and a number as port")
    return login, place, rest


def _login_of_connection_string(text: str) -> Login:
    password, kept, at = "", [], 0
    while at < len(text.rstrip()):
        found = _PARAMETER.match(text, at)
        if found is None:
            raise ValueError("must be an address like postgresql://user@host:port/database")
        name, value = found[1], found[2]
        if name == "password":
            password = re.sub(r"\\(.)", r"\1", value[1:-1] if value.startswith("'") else value)
        else:
            _refuse_secret(name)
            kept.append(f"{name}={value}")
        at = found.end()
    return Login(" ".join(kept), "", password)


def _refuse_secret(name: str) -> None:
    if name in _OTHER_SECRETS:
        raise ValueError(f"must not have {name}: put it into a libpq service file")


# The settings that may hold a login.
LOGINS: Final[Mapping[str, Callable[[str], Login]]] = {
    "registry_url": login_of_http,
    "elasticsearch_url": login_of_http,
    "postgres_url": login_of_postgres,
}
