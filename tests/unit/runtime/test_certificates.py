"""When certificates expire: the first of a chain, the last of several authorities."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.certificates import certificate_ends
from runtime.settings import Settings
from tests.certificates import certificate_pem

SOON, LATE = datetime(2030, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
CERTIFICATES = certificate_pem(end=LATE) + certificate_pem(end=SOON)


def ends(name: str, file: Path) -> dict[str, float]:
    key = {"http_tls_key": "x"} if name == "http_tls_certificate" else {}
    return dict(certificate_ends(Settings(**{name: str(file)}, **key)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "end"), [("http_tls_certificate", SOON), ("kafka_ssl_ca_location", LATE)]
)
def test_a_file_of_several_certificates(tmp_path: Path, name: str, end: datetime) -> None:
    file = tmp_path / "several.pem"
    file.write_bytes(b"# a comment\n" + CERTIFICATES)
    assert ends(name, file) == {name: end.timestamp()}


def test_what_is_not_a_certificate_is_left_out(tmp_path: Path) -> None:
    """A folder, a missing file, one without a certificate, and no setting at all."""
    other = tmp_path / "other.pem"
    other.write_bytes(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    for file in (tmp_path, tmp_path / "missing", other):
        assert ends("kafka_ssl_ca_location", file) == {}
    assert certificate_ends(Settings()) == {}
