"""Serves `/metrics`, `/livez` and `/readyz` of a process at `metrics_listen`.

Nothing asks who calls: the answers contain no personal data and no secret, but they should be
reachable only from where they are collected.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection

from runtime.network.addresses import resolve
from runtime.settings import Settings

log = logging.getLogger(__name__)


@contextmanager
def serving_metrics(
    settings: Settings, kind: str, pipes: Mapping[str, Connection] | None = None
) -> Iterator[None]:
    """Serve the metrics and probes of a process of a kind in the `with` block, if that is set.

    With `pipes`, answers for the processes at their other ends instead. Raises `Misconfigured`
    (`cannot_listen`) if the address cannot be used.
    """
    if not settings.metrics_listen:
        yield
        return
    # Only where metrics are served: the import takes a while.
    from runtime.metrics.server import MetricsServer
    from runtime.metrics.source import StartedProcesses, ThisProcess

    address = resolve(settings.metrics_listen, "correct the setting metrics_listen")
    source = ThisProcess(settings, kind) if pipes is None else StartedProcesses(kind, pipes)
    with address.bind() as bound:
        server = MetricsServer(bound, source)
        log.info("metrics: listening at %s", address.url("http", bound))
        # It looks that often whether it is to stop.
        looping = {"poll_interval": 0.1}
        threading.Thread(
            target=server.serve_forever, kwargs=looping, name="metrics", daemon=True
        ).start()
        try:
            yield
        finally:
            server.shutdown()


def answer_for_this_process(settings: Settings, kind: str, pipe: Connection) -> None:
    """Answer the process that started this one; see `serving_metrics`. Does not block."""
    from runtime.metrics.source import ThisProcess

    ThisProcess(settings, kind).answer(pipe)
