"""Every process of a registry, run with secrets and personal data that occur nowhere else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2

from runtime.settings import Settings
from tests.integration.foreign import SECRET
from tests.integration.quoting import QUOTING, ROOT
from tests.samples.sentinels import found_in
from tests.started.processes import Rollbook, RunningProcess
from tests.started.services import Service

PASSWORD: Final = "qpass/wordq"
# A token of an issuer; its parts are no JSON that this repeats.
TOKEN: Final = "eyJxYWxncSI6InFhbGdxIn0.eyJxc3VicSI6InFzdWJxIn0.qsignatureq"
METRICS: Final = re.compile(r"metrics: listening at (http://[\d.:]+)")
SCOPES: Final = ("commands", "queries", "erase", "operate")


def password_files(directory: Path) -> dict[str, str]:
    """Return variables that give the servers which ask for no password one, from a file."""
    file = directory / "password"
    file.write_text(PASSWORD, encoding="utf-8")
    variables = {}
    for server in ("REGISTRY", "ELASTICSEARCH"):
        variables[f"ROLLBOOK_{server}_USERNAME"] = "rollbook"
        variables[f"ROLLBOOK_{server}_PASSWORD_FILE"] = str(file)
    return variables


class System:
    """Every process of a registry, half of them with logs as JSON, and what they must not print."""

    def __init__(self, rollbook: Rollbook, directory: Path) -> None:
        self.rollbook = rollbook
        rollbook.overrides |= password_files(directory) | {
            "ROLLBOOK_HTTP_KEYS_FILE": str(directory / "keys.json"),
            "ROLLBOOK_HTTP_JWT_ISSUER": "https://issuer.example",
            "ROLLBOOK_HTTP_JWT_AUDIENCE": "rollbook",
            "ROLLBOOK_HTTP_JWT_KEYS_URL": "http://127.0.0.1:9/keys",
            "ROLLBOOK_READ_MODELS": QUOTING,
            "ROLLBOOK_METRICS_LISTEN": "127.0.0.1:0",
            "PYTHONPATH": str(ROOT),
        }
        scopes = (f"--scope={scope}" for scope in SCOPES)
        self.key: str = rollbook.json("keys", "create", "anna", *scopes)["key"]
        self.processes: dict[str, RunningProcess] = {}
        self.services: dict[str, Service] = {}
        self.metrics: dict[str, str] = {}
        self.printed: list[str] = []

    def start(self, name: str, *arguments: str, as_json: bool = False) -> RunningProcess:
        self.rollbook.overrides["ROLLBOOK_LOG_FORMAT"] = "json" if as_json else "text"
        self.processes[name] = self.rollbook.start(*arguments)
        return self.processes[name]

    def serve(self, name: str, kind: str, *options: str, as_json: bool = False) -> Service:
        self.rollbook.overrides["ROLLBOOK_LOG_FORMAT"] = "json" if as_json else "text"
        service = self.services[name] = Service(self.rollbook, kind, *options)
        self.processes[name] = service.process
        service.http.headers["authorization"] = f"Bearer {self.key}"
        if kind != "console":
            self.rollbook.overrides[f"ROLLBOOK_HTTP_{kind.upper()}_URL"] = service.url
        return service

    def run(self, *arguments: str, stdin: str | bytes = "") -> None:
        """Run a command that refuses its input, and keep what it prints on standard error."""
        done = self.rollbook.run(*arguments, stdin=stdin)
        assert done.returncode != 0
        self.printed.append(done.stderr)

    def refused(self, answer: httpx2.Response) -> int:
        """Keep what a service answers instead of what it was asked for; return the status."""
        assert answer.is_error, answer.text
        self.printed.append(f"{answer.headers} {answer.text}")
        return answer.status_code

    def read_metrics(self) -> None:
        """Keep what each process that still runs serves as metrics and says of its readiness."""
        for name, process in self.processes.items():
            found = METRICS.search(process.text())
            if process.returncode() is None and found is not None:
                for path in ("metrics", "readyz"):
                    url = f"{found[1]}/{path}"
                    answer = httpx2.get(url, trust_env=False, timeout=60, verify=False)
                    self.printed.append(answer.text)
                    self.metrics[name] = self.metrics.get(name, "") + answer.text

    def leaks(self, settings: Settings) -> list[str]:
        """Return which secrets and personal data are in what was printed and answered."""
        assert settings.postgres_password
        sentinels = (SECRET, PASSWORD, TOKEN, settings.postgres_password, self.key.split("_", 2)[2])
        return [f"{one} in {text}" for text in self.texts() for one in found_in(text, sentinels)]

    def texts(self) -> Iterator[str]:
        for process in self.processes.values():
            yield process.text()
        yield from self.printed
