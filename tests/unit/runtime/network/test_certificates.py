"""When certificates expire: the first of a chain, the last of several authorities."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.network.certificates import CERTIFICATES, certificate_ends
from runtime.settings import Settings
from tests.samples.certificates import certificate_pem, private_key_pem

SOON, LATE = datetime(2030, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
PEM = certificate_pem(end=LATE) + certificate_pem(end=SOON)


NEEDED = {
    "http_tls_certificate": {"http_tls_key": "x"},
    "kafka_ssl_ca_location": {"kafka_security_protocol": "ssl"},
    "kafka_ssl_certificate_location": {"kafka_security_protocol": "ssl"},
    "registry_ca_location": {"registry_url": "https://h"},
    "elasticsearch_ca_location": {"elasticsearch_url": "https://h"},
}


def naming(name: str, file: Path) -> Settings:
    needed = dict(NEEDED.get(name, {}))
    if name == "kafka_ssl_certificate_location":
        key = file.with_name("key.pem")
        key.write_bytes(private_key_pem())
        needed["kafka_ssl_key_location"] = str(key)
    return Settings(**{name: str(file)}, **needed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        (name, SOON if name.endswith(("certificate", "certificate_location")) else LATE)
        for name in CERTIFICATES
    ],
)
def test_a_file_of_several_certificates(tmp_path: Path, name: str, end: datetime) -> None:
    file = tmp_path / "several.pem"
    file.write_bytes(b"# a comment\n" + PEM)
    assert certificate_ends(naming(name, file)) == {name: end.timestamp()}


def test_what_is_not_a_certificate_is_left_out(tmp_path: Path) -> None:
    """A folder, a file that was damaged or removed since the start, and no setting at all."""
    name, file = "kafka_ssl_ca_location", tmp_path / "other.pem"
    assert certificate_ends(naming(name, tmp_path)) == {}
    file.write_bytes(PEM)
    settings = naming(name, file)
    file.write_bytes(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    assert certificate_ends(settings) == {}
    file.unlink()
    assert certificate_ends(settings) == {}
    assert certificate_ends(Settings()) == {}
