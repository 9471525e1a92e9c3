"""The query service as a process, and what its callers do."""

import json
from collections.abc import Generator
from typing import Any

from tests.started.processes import Rollbook, eventually
from tests.started.services import Service


class QueryService(Service):
    """A running query service and what its callers do."""

    def __init__(self, rollbook: Rollbook, *options: str) -> None:
        super().__init__(rollbook, "queries", *options)

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        """Return the JSON that a GET is answered with."""
        answer = self.http.get(path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def start_job(self, method: str, path: str, body: Any = None) -> str:
        """Start a job; return its path."""
        answer = self.http.request(method, path, json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.headers["location"])

    def finish_job(self, path: str) -> dict[str, Any]:
        """Return a job once it has ended."""

        def ended() -> Any:
            job = self.get(path)
            return job if job["state"] != "running" else None

        found: dict[str, Any] = eventually(ended, 180, f"the end of {path}")
        return found

    def run_job(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Run a job to its end; return it."""
        return self.finish_job(self.start_job(method, path, body))

    def events(
        self, path: str, last_event_id: str | None = None
    ) -> Generator[tuple[str, Any], None, None]:
        """Yield the id and the content of each server-sent event; None for a mere place."""
        headers = {"accept": "text/event-stream"}
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        with self.http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            event_id, data = "", None
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "id":
                    event_id = value
                elif field == "data":
                    data = json.loads(value)
                elif not line:
                    yield event_id, data
                    data = None
