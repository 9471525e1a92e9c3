"""Secrets that come from files, which are read again so that a new one takes effect at once.

To rotate a secret, its file is replaced. If every process had to be restarted for that, the old
secret would have to stay valid until then.
"""

import logging

from runtime.configuration.files import read_secret
from schemas.errors import Misconfigured

log = logging.getLogger(__name__)


class FileSecret(str):
    """The secret that setting `name` had in the file `path` when settings were loaded.

    `latest` is what `current` returned the last time.
    """

    __slots__ = ("_is_missed", "latest", "name", "path")

    name: str
    path: str
    latest: str
    _is_missed: bool

    @classmethod
    def read(cls, path: str, name: str) -> "FileSecret":
        """Return the secret of a file. Raises `Misconfigured` as `read_secret` does."""
        text = read_secret(path, name)
        secret = cls(text)
        secret.name, secret.path, secret.latest, secret._is_missed = name, path, text, False
        return secret

    def current(self) -> str:
        """Return what the file has now.

        While it cannot be read or is empty, as in the middle of a replacement, return the last
        secret that was read, and log a warning once.
        """
        try:
            self.latest = read_secret(self.path, self.name) or self.latest
            self._is_missed = False
        except Misconfigured as error:
            if not self._is_missed:
                log.warning("%s; using the secret that it had before", error)
            self._is_missed = True
        return self.latest


def current(secret: str) -> str:
    """Return a secret as its file has it now; without a file, as it is."""
    return secret.current() if isinstance(secret, FileSecret) else secret
