"""The keys of an issuer of tokens, served as issuers publish them, and tokens signed with them."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from runtime.callers.issuer import Issuer
from runtime.settings import Settings

NAME = "https://issuer.example"


class KeySet:
    """A server of the public keys of an issuer, which signs tokens with the private ones."""

    def __init__(self) -> None:
        self.requests = 0
        self.private: dict[str, Any] = {}
        self.add("first")
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.requests += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(served.public()).encode())

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, key_id: str) -> None:
        """Begin to sign with a key of this id as well."""
        self.private[key_id] = generate_private_key(SECP256R1())

    def public(self) -> dict[str, Any]:
        keys = [
            json.loads(ECAlgorithm.to_jwk(key.public_key())) | {"kid": name, "alg": "ES256"}
            for name, key in self.private.items()
        ]
        return {"keys": keys}

    def token(self, key_id: str = "first", **claims: Any) -> str:
        """Return a token that is valid, apart from `claims`."""
        every = {
            "iss": NAME,
            "aud": "rollbook",
            "sub": "shop-7",
            "exp": time.time() + 600,
            "scope": "openid commands queries",
        } | claims
        valid = {name: value for name, value in every.items() if value is not None}
        return jwt.encode(valid, self.private[key_id], "ES256", headers={"kid": key_id})

    def issuer(self) -> Issuer:
        return Issuer(
            Settings(
                http_jwt_issuer=NAME,
                http_jwt_audience="rollbook",
                http_jwt_keys_url=f"http://127.0.0.1:{self.server.server_address[1]}/keys",
            )
        )

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
