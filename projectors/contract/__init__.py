"""What every read model implements, and everything that a custom one needs to import.

`read_model` has the Protocols, `source` says which topic a model reads, `refusals` has the errors
that our versions share. The events, the errors and the settings that both sides use are re-exported
here. Public, together with `projectors.promises` (the tests that every read model must pass) and
`projectors.command_line` (for its queries): the names in `__all__` are kept stable. It imports
nothing else of `projectors`.
"""

from projectors.contract.read_model import (
    BUILDING,
    READY,
    Advance,
    Batch,
    DividesRows,
    Dropped,
    EventKey,
    PacksEvents,
    PausableVersions,
    Position,
    ReadModel,
    ReadModelVersions,
    Row,
    Version,
)
from projectors.contract.source import LATEST_STATE, WHOLE_HISTORY, Source
from runtime.configuration.files import state_home
from runtime.settings import Settings
from schemas.errors import Fenced, Forbidden, Misconfigured, Poisoned, Rejected, Unavailable
from schemas.records import USER_ERASED, FieldChange, User, UserEvent

__all__ = [
    "BUILDING",
    "LATEST_STATE",
    "READY",
    "USER_ERASED",
    "WHOLE_HISTORY",
    "Advance",
    "Batch",
    "DividesRows",
    "Dropped",
    "EventKey",
    "Fenced",
    "FieldChange",
    "Forbidden",
    "Misconfigured",
    "PacksEvents",
    "PausableVersions",
    "Poisoned",
    "Position",
    "ReadModel",
    "ReadModelVersions",
    "Rejected",
    "Row",
    "Settings",
    "Source",
    "Unavailable",
    "User",
    "UserEvent",
    "Version",
    "state_home",
]
