"""Finds `ROLLBOOK_…` variables of the environment that are no settings.

A mistyped variable must not be ignored: commands meant for one registry would go to another.
"""

import logging
import re
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher
from typing import Final

from schemas.errors import Misconfigured

log = logging.getLogger(__name__)

PREFIX: Final = "ROLLBOOK_"
# Variables that are no settings: of the command, the local stack, its docker-compose.yml and tests.
_WITH_PORTS: Final = (
    *("KAFKA", "REGISTRY", "POSTGRES", "ELASTICSEARCH", "KIBANA"),
    *("COMMANDS", "QUERIES", "CONSOLE"),
)
_OTHERS: Final = {"CONFIG", "STACK", "STACKS", "SUPERVISED_BY", "COMPLETE", "HTTP_KEYS"} | {
    f"{each}_PORT" for each in _WITH_PORTS
}
_TESTS: Final = "TEST_"
# Kubernetes sets these in every pod of a namespace with a service called rollbook or rollbook-….
_SERVICE_LINK: Final = re.compile(
    r"(\w+_)?SERVICE_(HOST|PORT(_\w+)?)|(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?"
)
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")
_NEAR: Final = 0.75
_SIMILAR: Final = 0.5


def check_variables(environment: Mapping[str, str], settings: Collection[str]) -> None:
    """Log a warning for each `ROLLBOOK_…` variable that is neither a setting nor known otherwise.

    `settings` are the names of variables that set something, without the prefix. Raises
    `Misconfigured` (`bad_setting`) if the name is nearly that of a setting.
    """
    for variable, value in environment.items():
        name = variable.removeprefix(PREFIX)
        if variable == name or name in settings or _is_known(name, value):
            continue
        similarity, nearest = _nearest(name, settings)
        if similarity >= _NEAR:
            raise Misconfigured(
                f"the environment has {variable}, which is no setting",
                code="bad_setting",
                next_step=f"did you mean {PREFIX}{nearest}? Otherwise unset it",
            )
        hint = f"; the nearest is {PREFIX}{nearest}" if similarity >= _SIMILAR else ""
        log.warning("the environment has %s, which is no setting%s", variable, hint)


def _is_known(name: str, value: str) -> bool:
    return (
        name in _OTHERS
        or name.startswith(_TESTS)
        or _SERVICE_LINK.fullmatch(name) is not None
        or (name.endswith("PORT") and _SERVICE_ADDRESS.match(value) is not None)
    )


def _nearest(name: str, settings: Collection[str]) -> tuple[float, str]:
    wanted = name.upper()
    return max((SequenceMatcher(None, wanted, each).ratio(), each) for each in settings)
