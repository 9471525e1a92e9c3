"""The brokers of a native stack: one, or three of which each has a copy of every topic.

They are called kafka, kafka-2 and kafka-3. How many a stack has is recorded in its ports.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from scripts.stack.places import BROKER_PORTS, HOST

FIRST: Final = "kafka"
BROKERS: Final = (FIRST, *(name for name in BROKER_PORTS if not name.endswith("-controller")))
SEVERAL: Final = len(BROKERS)
# Options of a broker that has others beside it; they replace those for one broker.
CLUSTER_OPTIONS: Final[Mapping[str, int]] = {
    # A write that was confirmed by two of three survives the loss of any one of them.
    "default.replication.factor": SEVERAL,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": SEVERAL,
    "transaction.state.log.replication.factor": SEVERAL,
    "transaction.state.log.min.isr": 2,
    "share.coordinator.state.topic.replication.factor": SEVERAL,
    "share.coordinator.state.topic.min.isr": 2,
}


def broker_names(ports: Mapping[str, int]) -> list[str]:
    """Return the names of the brokers of a stack with these ports; that of the first at least."""
    return [name for name in BROKERS if name == FIRST or name in ports]


def bootstrap_servers(ports: Mapping[str, int]) -> str:
    """Return the addresses of all brokers, as clients are given them."""
    return ",".join(f"{HOST}:{ports[name]}" for name in broker_names(ports))


def quorum_voters(ports: Mapping[str, int]) -> str:
    """Return the controllers, as brokers are given them; each broker is one as well."""
    names = enumerate(broker_names(ports), 1)
    return ",".join(f"{number}@{HOST}:{ports[f'{name}-controller']}" for number, name in names)


def with_all_brokers(servers: Iterable[str], ports: Mapping[str, int]) -> list[str]:
    """Return the names of servers, with those of all brokers in place of the first one's."""
    brokers = broker_names(ports)
    return [one for name in servers for one in (brokers if name == FIRST else [name])]
