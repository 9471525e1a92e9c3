"""What is counted of requests and failures: labels have a bound, whatever is requested."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from runtime.http import application
from runtime.http.measure import follow_readiness
from runtime.metrics.failures import count_failure
from runtime.metrics.health import HEALTH, START
from runtime.metrics.recording import VALUES
from runtime.settings import Settings
from schemas.errors import Forbidden, Rejected, RollbookError, TlsFailed, Unavailable
from tests.unit.runtime.http.services import ADDRESS, client, trial

SERVICE = "trial"


def requests() -> dict[tuple[str, ...], float]:
    """Return what was counted of the small service's requests: method, route and status."""
    found = VALUES.numbers("http_requests_total")
    return {labels[1:]: number for labels, number in found.items() if labels[0] == SERVICE}


def test_the_labels_of_requests_have_a_bound() -> None:
    """Neither a path nor a method that a caller made up is among them.

    Nothing is counted unless metrics are served.
    """
    before = requests()
    client(trial()).get("/users/unmeasured")
    service = client(trial(metrics_listen="127.0.0.1:0"))
    service.get(f"/{ADDRESS}")
    service.get("/users/crash")
    service.get(f"/users/{ADDRESS}", params={"email": ADDRESS})
    service.request(ADDRESS.upper(), "/users")
    service.post("/users", json={"email": ADDRESS})
    service.get("/livez")
    grown = {labels: number - before.get(labels, 0) for labels, number in requests().items()}
    assert {labels: number for labels, number in grown.items() if number} == {
        ("GET", "unknown", "404"): 1,
        ("GET", "/users/{user_id}", "500"): 1,
        ("GET", "/users/{user_id}", "404"): 1,
        ("other", "/users", "405"): 1,
        ("POST", "/users", "201"): 1,
    }
    assert VALUES.numbers("http_requests_in_flight")[SERVICE,] == 0
    routes = {labels[1] for labels, _, _ in VALUES.histograms("http_request_seconds")}
    assert {"unknown", "/users/{user_id}"} <= routes


@pytest.mark.parametrize(
    ("error", "store"),
    [
        (Unavailable("PostgreSQL failed", code="postgres_unavailable"), "postgres"),
        (Forbidden("Kafka denies access", code="kafka_forbidden"), "kafka"),
        (TlsFailed("untrusted", server="kafka", code="tls_missing", next_step=""), "kafka"),
        (Unavailable("busy", code="service_busy"), None),
        (Rejected("no", code="postgres_refused"), None),
    ],
    ids=str,
)
def test_failures_of_servers_are_counted(error: RollbookError, store: str | None) -> None:
    names = ("store_errors_total", "store_retries_total")
    before = {name: VALUES.numbers(name) for name in names}
    count_failure(error, is_retried=False)
    count_failure(error, is_retried=True)
    for name, expected in zip(names, (2, 1), strict=True):
        after = VALUES.numbers(name)
        grown = {one: after[one] - before[name][one] for one in after}
        assert {one: by for (one,), by in grown.items() if by} == (
            {store: expected} if store else {}
        )


def test_a_failure_that_a_request_meets_is_counted() -> None:
    before = VALUES.numbers("store_errors_total")["postgres",]
    assert client(trial()).get("/users/busy").status_code == 503
    assert VALUES.numbers("store_errors_total")["postgres",] == before + 1


@pytest.mark.parametrize("error", [Unavailable("no", code="kafka_unavailable"), ValueError("x")])
def test_a_service_that_cannot_work_is_not_ready(error: Exception) -> None:
    """Also if the check itself fails."""

    async def ready() -> None:
        raise error

    app = application(Settings(), title=SERVICE, ready=ready)
    try:
        asyncio.run(once(app.state.check_ready))
        assert START in HEALTH.missing
        asyncio.run(once(application(Settings(), title=SERVICE).state.check_ready))
        assert START not in HEALTH.missing
    finally:
        HEALTH.works(START)


async def once(check: Callable[[], Awaitable[None]]) -> None:
    """Follow the readiness for as long as one check takes."""
    done = asyncio.Event()

    async def checked() -> None:
        try:
            await check()
        finally:
            done.set()

    following = asyncio.create_task(follow_readiness(checked))
    await done.wait()
    await asyncio.sleep(0)
    following.cancel()
