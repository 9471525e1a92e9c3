"""Opens restores that read to the true end of a partition's log, whichever broker serves it.

A broker that is cut off from the others still serves clients as the leader of its partitions, but
its log is outdated; a handler that restored only that log would base its decisions on it. Such a
broker cannot confirm a write, because too few copies take part. So where a topic has several
copies, an aborted record is appended to each topic first: a restore that has read up to that record
has missed nothing. A restore that reads from a broker that is cut off waits until that broker has
become a follower again.
"""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException

from producers.handler.clients import Clients, Codecs
from producers.handler.partitions.restore import RESTORED, Restore
from producers.handler.transaction import IndefiniteError, Transactions
from runtime.settings import Settings


class RestoreOpener:
    """Opens the restores of a handler. Call it with the number of a partition."""

    def __init__(
        self, settings: Settings, codecs: Codecs, clients: Clients, transactions: Transactions
    ) -> None:
        self._settings = settings
        self._codecs = codecs
        self._clients = clients
        self._transactions = transactions

    def __call__(self, number: int) -> Restore:
        """Return a restore of a partition that is fenced from its predecessors.

        Appends to topics that have several copies. Raises KafkaException if brokers do not confirm
        that, `Fenced` if another process took over.
        """
        ends = self._confirmed_ends(number)
        return Restore(self._settings, number, self._codecs, self._clients, ends)

    def _confirmed_ends(self, number: int) -> Mapping[tuple[str, int], int]:
        places = [(self._settings.named(topic.name), number) for topic in RESTORED]
        if all(self._transactions.copies(*place) == 1 for place in places):
            return {}
        try:
            ends = self._transactions.append_aborted(places)
        except IndefiniteError:
            self._transactions.recreate_producer()
            ends = None
        if ends is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - a public name
        return ends
