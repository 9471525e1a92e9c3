"""Who is signed in: a key per browser, in the memory of this process, and the token of each form.

The cookie holds a random id and nothing else. The token of a form is derived from that id, so that
another site, which cannot read the cookie, cannot send a form in a person's name.
"""

import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

_IDLE_SECONDS: Final = 2 * 3600
_MOST_SESSIONS: Final = 1_000
_ID_BYTES: Final = 32


@dataclass(slots=True)
class Session:
    """A signed-in browser. `key` is '' where the services require none.

    It `operates` if the pages offer operations: the service serves them, and the key permits them.
    `said` is what the next page says about the last one: a form that was carried out.
    """

    key: str
    operates: bool = True
    said: str = ""
    used_at: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """What logs call the person: the id of the key, never its secret."""
        parts = self.key.split("_")
        return parts[1] if len(parts) > 2 and parts[0] == "rbk" else "-"  # noqa: PLR2004


class Sessions:
    """The sessions of this process; they end after two hours without a request, or with it."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._secret = secrets.token_bytes(_ID_BYTES)

    def of(self, request: Request) -> Session | None:
        """Return the session of the browser that sent `request`, None if it is not signed in."""
        browser = browser_id(request)
        session = self._sessions.get(browser)
        now = time.monotonic()
        if session is None or now > session.used_at + _IDLE_SECONDS:
            self._sessions.pop(browser, None)
            return None
        session.used_at = now
        self._sessions.move_to_end(browser)
        return session

    def begin(
        self, request: Request, response: Response, key: str, *, operates: bool = True
    ) -> None:
        """Sign the browser in. Its id changes, so that nobody who knew the old one takes part."""
        self.end(request)
        browser = new_browser_id()
        keep_browser_id(request, response, browser)
        self._sessions[browser] = Session(key, operates)
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def end(self, request: Request) -> None:
        """Sign the browser out."""
        self._sessions.pop(browser_id(request), None)

    def form_token(self, browser: str) -> str:
        """Return the token that each form shown to this browser must send back."""
        return hmac.digest(self._secret, browser.encode(), "sha256").hex()

    def has_token(self, request: Request, given: str) -> bool:
        """Return whether `given` is the token of the browser that sent `request`."""
        browser = browser_id(request)
        wanted = self.form_token(browser)
        return bool(browser) and hmac.compare_digest(wanted.encode(), given.encode())


def browser_id(request: Request) -> str:
    """Return the id in the cookie of `request`, or ''."""
    return request.cookies.get(_cookie(request), "")


def new_browser_id() -> str:
    """Return a random id."""
    return secrets.token_urlsafe(_ID_BYTES)


def keep_browser_id(request: Request, response: Response, browser: str) -> None:
    """Let the browser send this id from now on."""
    response.set_cookie(
        _cookie(request), browser, httponly=True, samesite="strict", secure=_is_secure(request)
    )


def _cookie(request: Request) -> str:
    # Cookies do not know ports: two consoles on one host need two names.
    name = f"rollbook-{request.url.port or 'console'}"
    return f"__Host-{name}" if _is_secure(request) else name


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"
