"""Checks of TLS: when certificates expire, and which connections are not encrypted."""

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from runtime.configuration.logins import urls_of
from runtime.network.certificates import CERTIFICATES, certificate_ends
from runtime.settings import Settings
from scripts.doctor.finding import (
    Examination,
    Finding,
    not_checked,
    ok,
    problem,
    warning,
)

_PROBLEM_DAYS, _WARNING_DAYS = 7.0, 30.0
_CONNECT_SECONDS: Final = 5.0
_URLS: Final = ("registry_url", "elasticsearch_url", "http_commands_url", "http_queries_url")
_LOCAL: Final = {"localhost", "127.0.0.1", "::1", ""}


def expiry(examination: Examination) -> Iterator[Finding]:
    """Look when the certificates in files and those of servers expire."""
    yield from file_findings(examination.settings, time.time())
    for setting, host, port in tls_servers(examination.settings):
        where = f"{setting}: the server {host}:{port}"
        try:
            yield expiry_finding(where, _expiry_of_server(host, port), time.time())
        except OSError as error:
            yield not_checked(f"{where} did not show a certificate: {type(error).__name__}")


def file_findings(settings: Settings, now: float) -> Iterator[Finding]:
    """Yield what to think of the files of certificates that the settings name."""
    ends = certificate_ends(settings)
    for setting in CERTIFICATES:
        path = getattr(settings, setting)
        if setting in ends:
            yield expiry_finding(f"{setting}: {path}", ends[setting], now)
        elif path and not Path(path).is_dir():  # authorities may be in a folder
            yield problem(f"{setting}: no certificate can be read from {path}", "correct the file")


def expiry_finding(where: str, until: float, now: float) -> Finding:
    """Return what to think of a certificate that is valid `until` then."""
    days = (until - now) / 86_400
    remedy = "renew it; processes must be restarted to read the new file"
    if days < 0:
        return problem(f"{where}: a certificate expired {-days:.0f} days ago", remedy)
    text = f"{where}: a certificate expires in {days:.0f} days"
    if days < _PROBLEM_DAYS:
        return problem(text, remedy)
    return warning(text, remedy) if days < _WARNING_DAYS else ok(text)


def tls_servers(settings: Settings) -> list[tuple[str, str, int]]:
    """Return setting, host and port of the servers that are asked over TLS."""
    found = []
    if settings.kafka_security_protocol.lower().endswith("ssl"):
        for broker in settings.kafka_bootstrap_servers.split(","):
            host, _, port = broker.strip().rpartition(":")
            found.append(("kafka_bootstrap_servers", host.strip("[]"), int(port or 9092)))
    for setting in _URLS:
        urls = map(urlsplit, urls_of(getattr(settings, setting)))
        found += [
            (setting, url.hostname or "", url.port or 443) for url in urls if url.scheme == "https"
        ]
    return found


def _expiry_of_server(host: str, port: int) -> float:
    from cryptography.x509 import load_der_x509_certificate

    # Not verified: the certificate may be of an authority of the organisation, or have expired.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True) or b""
    return load_der_x509_certificate(shown).not_valid_after_utc.timestamp()


def encryption(examination: Examination) -> Iterator[Finding]:
    """Look for connections to other machines that are not encrypted."""
    of = examination.settings
    hosts = [one.strip().rpartition(":")[0] for one in of.kafka_bootstrap_servers.split(",")]
    is_encrypted = of.kafka_security_protocol.lower().endswith("ssl")
    plain = {"kafka_security_protocol": [] if is_encrypted else hosts}
    for setting in _URLS:
        urls = map(urlsplit, urls_of(getattr(of, setting)))
        plain[setting] = [url.hostname or "" for url in urls if url.scheme == "http"]
    parts = conninfo_to_dict(of.postgres_url)
    is_encrypted = parts.get("sslmode") in {"require", "verify-ca", "verify-full"}
    plain["postgres_url"] = [] if is_encrypted else str(parts.get("host", "")).split(",")
    for setting, named in plain.items():
        others = [host for host in named if host.strip("[]") not in _LOCAL and host[:1] != "/"]
        if others:
            yield warning(
                f"{setting}: connections to {', '.join(others)} need not be encrypted"
                f"{_shown_to_listeners(of, setting)}",
                "use TLS, unless the network between the machines is trusted",
            )


def _shown_to_listeners(of: Settings, setting: str) -> str:
    """Return what whoever can read a connection that is not encrypted learns of its login."""
    service = setting.partition("_")[0]
    if service == "kafka" and of.kafka_sasl_mechanism:
        if of.kafka_sasl_mechanism.upper().startswith("SCRAM"):
            return ": listeners see the records, but not the password"
        return ": listeners see the records and the login"
    has_login = getattr(of, f"{service}_username", "") or getattr(of, f"{service}_api_key", "")
    return ": listeners see the login" if has_login else ""
