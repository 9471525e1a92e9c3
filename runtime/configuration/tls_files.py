"""Checks the files of certificates and keys that settings name, before a client fails on one.

The clients' own errors repeat what OpenSSL says: neither which setting is wrong nor which file. No
rule quotes the path, because somebody may have given a key in its place.
"""

import os
import ssl
from pathlib import Path
from typing import Final

_MISMATCH: Final = "KEY_VALUES_MISMATCH"


def authority_fault(path: str) -> str:
    """Return why a client cannot read certificate authorities at `path`, as a rule; or ''.

    A folder is accepted as it is: OpenSSL looks up in it what a connection needs.
    """
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name too long
        return ""
    unreadable = unreadable_file(path)
    if unreadable:
        return unreadable
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "names a file without a certificate"
    return ""


def certificate_fault(path: str) -> str:
    """Return why the certificate of a client cannot be read from `path`, as a rule; or ''."""
    if os.path.isdir(path):  # noqa: PTH112
        return "must name a file, not a folder"
    return authority_fault(path)


def key_fault(certificate: str, key: str, password: str) -> tuple[str, str]:
    """Return what is wrong with a key, if its certificate can be read: '' or a rule about it.

    The second is a rule about its password, if that is what is wrong.
    """
    unreadable = unreadable_file(key)
    if unreadable:
        return unreadable, ""
    asked = False

    def give() -> str:
        nonlocal asked
        asked = True  # without this function, OpenSSL would ask at the terminal
        return password

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, give)
    except (ssl.SSLError, ValueError) as error:
        if asked:
            rule = "does not fit the key" if password else "must be set, because the key has one"
            return "", rule
        if getattr(error, "reason", "") == _MISMATCH:
            return "names a key that does not belong to the certificate", ""
        return "names a file without a private key", ""
    return "", ""


def unreadable_file(path: str) -> str:
    """Return why a file cannot be read, as a rule for the setting that names it; or ''."""
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"names a file that cannot be read: {os.strerror(error.errno or 0)}"
    except ValueError:  # a NUL in the name
        return "names a file that cannot be read"
    return ""
