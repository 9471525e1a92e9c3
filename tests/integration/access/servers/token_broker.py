"""A broker that accepts OAuth tokens or client certificates, and the server that issues tokens."""

import json
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from scripts.stack.download.fetch import fetch
from scripts.stack.download.jdk import choose_jdk
from scripts.stack.native.server_files import Site, console_log, kafka_properties
from scripts.stack.native.servers import format_kafka, kafka_program
from scripts.stack.places import HOST, choose_ports, free_port, server_user

CLIENT, SECRET = "app", "right"
_HANDLER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
_MODULE = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
_ISSUER, _AUDIENCE, _KEY_ID = "https://login.example", "kafka", "first"
# So short that clients need several in a test.
TOKEN_SECONDS = 20


@dataclass
class TokenServer:
    """Issues tokens to one client; `requests` has the scope and status of each request."""

    key: RSAPrivateKey = field(default_factory=lambda: generate_private_key(65537, 2048))
    requests: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""

    def answer(self, login: str, body: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the document for a request of a token."""
        right = login == f"{CLIENT}:{SECRET}"
        self.requests.append((body, 200 if right else 401))
        if not right:
            return 401, {"error": "invalid_client"}
        now = int(time.time())
        claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": CLIENT, "scope": "kafka"}
        claims_in_time = claims | {"iat": now, "exp": now + TOKEN_SECONDS}
        token = jwt.encode(claims_in_time, self.key, "RS256", headers={"kid": _KEY_ID})
        return 200, {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_SECONDS}

    def has_issued(self, count: int) -> bool:
        """Return whether at least so many requests were answered."""
        return len(self.requests) >= count

    def public_keys(self) -> str:
        """Return the JSON Web Key Set with which tokens are verified."""
        key = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return json.dumps({"keys": [key | {"kid": _KEY_ID, "alg": "RS256", "use": "sig"}]})


@contextmanager
def token_server() -> Iterator[TokenServer]:
    """Run a token server inside the `with` block."""
    tokens = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            login = b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, document = tokens.answer(login, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    tokens.url = f"http://{HOST}:{server.server_port}/token"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True, slots=True)
class TokenBroker:
    """The addresses of a running broker, and the authority that issues certificates."""

    with_token: str
    with_certificate: str
    authority: trustme.CA
    ca_file: Path


@contextmanager
def token_broker(tokens: TokenServer, folder: Path) -> Iterator[TokenBroker]:
    """Run a broker inside the `with` block; it may not answer yet."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "keys.json").write_text(tokens.public_keys(), encoding="utf-8")
    site = _site(folder)
    ports = {name: free_port(set(site.ports.values())) for name in ("TOKEN",)}
    ports["MUTUAL"] = free_port({*site.ports.values(), *ports.values()})
    for path in (site.data / "kafka", site.configuration):
        path.mkdir(parents=True)
    certificate = authority.issue_cert(HOST, "localhost")
    (folder / "broker.pem").write_bytes(key_pem(certificate) + chain_pem(certificate))
    text = kafka_properties(site) + _options(site, ports, folder)
    (site.configuration / "kafka.properties").write_text(text, encoding="utf-8")
    log4j = site.configuration / "kafka-log4j2.properties"
    log4j.write_text(console_log("info"), encoding="utf-8")
    format_kafka(site)
    java, *arguments = kafka_program(site).command
    allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{folder / 'keys.json'}"
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen(
            [java, "-XX:TieredStopAtLevel=1", allowed, *arguments], stdout=log, stderr=log
        )
    try:
        addresses = {name: f"{HOST}:{port}" for name, port in ports.items()}
        ca_file = folder / "ca.pem"
        yield TokenBroker(addresses["TOKEN"], addresses["MUTUAL"], authority, ca_file)
    finally:
        process.kill()
        process.wait()


def chain_pem(certificate: trustme.LeafCert) -> bytes:
    """Return a certificate and the chain that leads to it."""
    return b"".join(one.bytes() for one in certificate.cert_chain_pems)


def key_pem(certificate: trustme.LeafCert, password: str = "") -> bytes:
    """Return the key of a certificate as Java reads it (PKCS 8), encrypted if it has a password."""
    loaded = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return loaded.private_bytes(pem, pkcs8, encryption)


def _site(folder: Path) -> Site:
    user = server_user()  # whose downloads are used; the broker runs as we do
    java = choose_jdk(user, print)
    return Site(
        stack=folder,
        data=folder / "data",
        configuration=folder / "configuration",
        logs=folder,
        password_file=folder / "none",
        java=java,
        programs=fetch(user, java.home, print),
        ports=choose_ports({}, free=True),
        user=None,
    )


def _options(site: Site, ports: dict[str, int], folder: Path) -> str:
    """Return the lines that follow the stack's own: of two with one name, the last one counts."""
    own = {"CLIENT": site.ports["kafka"], "CONTROLLER": site.ports["kafka-controller"]}
    options = {
        "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in (own | ports).items()),
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        "TOKEN:SASL_SSL,MUTUAL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": folder / "broker.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": folder / "ca.pem",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.token.oauthbearer.sasl.jaas.config": f"{_MODULE} required;",
        "listener.name.token.oauthbearer.sasl.server.callback.handler.class": _HANDLER,
        # Connections end with their tokens, unless clients show new ones before.
        "listener.name.token.oauthbearer.connections.max.reauth.ms": 3_600_000,
        "sasl.oauthbearer.jwks.endpoint.url": f"file://{folder / 'keys.json'}",
        "sasl.oauthbearer.expected.issuer": _ISSUER,
        "sasl.oauthbearer.expected.audience": _AUDIENCE,
    }
    return "".join(f"{name}={value}\n" for name, value in options.items())
