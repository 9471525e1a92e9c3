"""Settings of the servers fit together, or the one that does not is named at once."""

from pathlib import Path

import pytest

from runtime.settings import Settings
from schemas.errors import Misconfigured
from tests.samples.certificates import certificate_pem, private_key_pem

Given = dict[str, str]
SECRET = "s3cret"
SCRAM: Given = {
    "kafka_security_protocol": "sasl_ssl",
    "kafka_sasl_mechanism": "scram-sha-512",
    "kafka_sasl_username": "app",
    "kafka_sasl_password": SECRET,
}
OAUTH: Given = {
    "kafka_security_protocol": "sasl_ssl",
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_oauth_token_url": "https://login.example/token",
    "kafka_oauth_client_id": "app",
    "kafka_oauth_client_secret": SECRET,
}
MUTUAL: Given = {
    "kafka_security_protocol": "ssl",
    "kafka_ssl_ca_location": "CERTIFICATE",
    "kafka_ssl_certificate_location": "CERTIFICATE",
    "kafka_ssl_key_location": "KEY",
}
HTTPS: Given = {
    "registry_url": "https://r1:1/x,https://r2:1/x",
    "registry_ca_location": "CERTIFICATE",
    "elasticsearch_url": "https://e1:9200, https://e2:9200",
    "elasticsearch_ca_location": "FOLDER",
    "elasticsearch_api_key": "aWQ6a2V5==",
}
POSTGRES: Given = {
    "postgres_url": "postgresql://u@h/db?sslmode=verify-full&sslrootcert=CERTIFICATE&sslcrl=KEY"
}


@pytest.fixture
def files(tmp_path: Path) -> Given:
    """Files by the names that stand for them in the cases."""
    contents = {
        "CERTIFICATE": certificate_pem(),
        "KEY": private_key_pem(),
        "ENCRYPTED": private_key_pem(SECRET),
        "OTHER": b"no certificate",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {
        **{name: str(tmp_path / name) for name in (*contents, "MISSING")},
        "FOLDER": str(tmp_path),
        "NUL": "\0",
    }


def settings_of(given: Given, files: Given) -> Settings:
    """Return the settings, with the paths of files in place of their names."""
    values = dict(given)
    for name, value in given.items():
        for file, path in files.items():
            values[name] = values[name].replace(file, path) if file in value else values[name]
    return Settings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        SCRAM,
        SCRAM | {"kafka_security_protocol": "SASL_PLAINTEXT"},
        SCRAM | MUTUAL | {"kafka_security_protocol": "sasl_ssl"},
        OAUTH,
        OAUTH | {"kafka_oauth_scope": "kafka", "kafka_oauth_token_url": "http://127.0.0.1:1/t"},
        MUTUAL,
        MUTUAL | {"kafka_ssl_key_location": "ENCRYPTED", "kafka_ssl_key_password": SECRET},
        MUTUAL | {"kafka_ssl_ca_location": "FOLDER"},
        HTTPS,
        POSTGRES,
        {"http_ca_location": "CERTIFICATE"},
        {"postgres_url": "postgresql://u@h/db?sslmode=verify-full&sslrootcert=system"},
        {"postgres_url": "host=h sslrootcert='CERTIFICATE'"},
        # Deployments may set the login of a process whether brokers demand it or not.
        {"kafka_sasl_username": "app", "kafka_sasl_password": SECRET},
    ],
)
def test_what_fits_together_is_accepted(given: Given, files: Given) -> None:
    settings_of(given, files)


WRONG: list[tuple[str, Given]] = [
    ("kafka_sasl_mechanism", SCRAM | {"kafka_sasl_mechanism": ""}),
    ("kafka_sasl_mechanism", SCRAM | {"kafka_sasl_mechanism": "GSSAPI"}),
    ("kafka_security_protocol", SCRAM | {"kafka_security_protocol": "ssl"}),
    ("kafka_sasl_username", SCRAM | {"kafka_sasl_username": ""}),
    ("kafka_sasl_password", SCRAM | {"kafka_sasl_password": ""}),
    ("kafka_oauth_client_secret", SCRAM | {"kafka_oauth_client_secret": SECRET}),
    ("kafka_oauth_scope", SCRAM | {"kafka_oauth_scope": "x"}),
    ("kafka_oauth_token_url", OAUTH | {"kafka_oauth_token_url": ""}),
    ("kafka_oauth_token_url", OAUTH | {"kafka_oauth_token_url": "http://login.example/t"}),
    ("kafka_oauth_token_url", OAUTH | {"kafka_oauth_token_url": f"https://u:{SECRET}@h/"}),
    ("kafka_oauth_token_url", OAUTH | {"kafka_oauth_token_url": f"https://h/?x={SECRET}"}),
    ("kafka_oauth_client_id", OAUTH | {"kafka_oauth_client_id": ""}),
    ("kafka_oauth_client_secret", OAUTH | {"kafka_oauth_client_secret": ""}),
    ("kafka_sasl_password", OAUTH | {"kafka_sasl_password": SECRET}),
    ("kafka_security_protocol", MUTUAL | {"kafka_security_protocol": "plaintext"}),
    ("kafka_ssl_ca_location", MUTUAL | {"kafka_ssl_ca_location": "MISSING"}),
    ("kafka_ssl_ca_location", MUTUAL | {"kafka_ssl_ca_location": "OTHER"}),
    ("kafka_ssl_ca_location", MUTUAL | {"kafka_ssl_ca_location": "NUL"}),
    ("kafka_ssl_certificate_location", MUTUAL | {"kafka_ssl_certificate_location": ""}),
    ("kafka_ssl_certificate_location", MUTUAL | {"kafka_ssl_certificate_location": "FOLDER"}),
    ("kafka_ssl_certificate_location", MUTUAL | {"kafka_ssl_certificate_location": "KEY"}),
    ("kafka_ssl_key_location", MUTUAL | {"kafka_ssl_key_location": ""}),
    ("kafka_ssl_key_location", MUTUAL | {"kafka_ssl_key_location": "MISSING"}),
    ("kafka_ssl_key_location", MUTUAL | {"kafka_ssl_key_location": "CERTIFICATE"}),
    ("kafka_ssl_key_password", MUTUAL | {"kafka_ssl_key_location": "ENCRYPTED"}),
    (
        "kafka_ssl_key_password",
        MUTUAL | {"kafka_ssl_key_location": "ENCRYPTED", "kafka_ssl_key_password": "wrong"},
    ),
    ("kafka_ssl_certificate_location", {**SCRAM, "kafka_ssl_key_password": SECRET}),
    ("registry_url", HTTPS | {"registry_url": "http://h:1"}),
    ("registry_url", HTTPS | {"registry_url": "https://h:1,http://h:2"}),
    ("registry_url", HTTPS | {"registry_url": "https://h:1,h:2"}),
    ("registry_username", HTTPS | {"registry_password": SECRET}),
    ("registry_ca_location", HTTPS | {"registry_ca_location": "OTHER"}),
    ("elasticsearch_ca_location", HTTPS | {"elasticsearch_ca_location": "MISSING"}),
    ("elasticsearch_api_key", HTTPS | {"elasticsearch_username": "app"}),
    ("elasticsearch_api_key", HTTPS | {"elasticsearch_api_key": f"{SECRET}\r\nx: y"}),
    ("http_ca_location", {"http_ca_location": "KEY"}),
    ("postgres_url", {"postgres_url": "postgresql://u@h/db?sslrootcert=MISSING"}),
    ("postgres_url", {"postgres_url": "host=h sslkey=MISSING"}),
]


@pytest.mark.parametrize(("name", "given"), WRONG)
def test_what_does_not_fit_is_refused_by_name(name: str, given: Given, files: Given) -> None:
    """Neither a secret nor a path is quoted: in place of a path, there may be the key itself."""
    with pytest.raises(Misconfigured) as refused:
        settings_of(given, files)
    message = str(refused.value)
    assert message.startswith(f"setting {name} ")
    assert SECRET not in message
    assert files["FOLDER"] not in message


def test_a_key_of_another_certificate_is_refused(files: Given) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    key = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    Path(files["KEY"]).write_bytes(key)
    with pytest.raises(Misconfigured, match="names a key that does not belong"):
        settings_of(MUTUAL, files)
