"""The certificates of a secure stack: one for each server, from an authority of its own.

The authority's key is never stored, so nobody can issue another certificate that clients of the
stack trust. Near the end of their year, the next start replaces the authority with them.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from scripts.stack.places import HOST, ServerUser, give
from scripts.stack.secure.logins import ca_file

_VALID: Final = timedelta(days=365)
_RENEWED_BEFORE: Final = timedelta(days=30)
_FILES: Final = ("ca.pem", "certificate.pem", "key.pem", "keystore.pem")
# Containers reach a server by its name as well.
_NAMES: Final = (HOST, "localhost")


def ensure_certificates(stack: Path, folders: Iterable[Path], user: ServerUser | None) -> None:
    """Issue a certificate into the folder of each server, unless it has one for 30 more days.

    The files are `ca.pem`, `certificate.pem`, `key.pem` and, of the last two, `keystore.pem`. The
    common name of a certificate is the name of its folder.
    """
    folders = list(folders)
    if not all(_is_valid(folder) for folder in folders):
        _issue(stack, folders, user)


def _is_valid(folder: Path) -> bool:
    from cryptography.x509 import load_pem_x509_certificate

    if not all((folder / name).exists() for name in _FILES):
        return False
    issued = load_pem_x509_certificate((folder / "certificate.pem").read_bytes())
    return issued.not_valid_after_utc > datetime.now(UTC) + _RENEWED_BEFORE


def _issue(stack: Path, folders: Iterable[Path], user: ServerUser | None) -> None:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )
    from trustme import CA

    authority = CA(organization_name="rollbook", organization_unit_name="local stack")
    authority.cert_pem.write_to_path(ca_file(stack))
    for folder in folders:
        issued = authority.issue_cert(
            *_NAMES, folder.name, common_name=folder.name, not_after=datetime.now(UTC) + _VALID
        )
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        # Kafka reads no other format, and both from one file.
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        texts = {
            "ca.pem": authority.cert_pem.bytes(),
            "certificate.pem": chain,
            "key.pem": private,
            "keystore.pem": private + chain,
        }
        folder.mkdir(parents=True, exist_ok=True)
        give(folder, user)
        for name, text in texts.items():
            _write(folder / name, text, user)


def _write(path: Path, text: bytes, user: ServerUser | None) -> None:
    path.touch(mode=0o600)
    path.write_bytes(text)
    give(path, user)
