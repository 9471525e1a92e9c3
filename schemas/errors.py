"""The error hierarchy: each class states the consequence of a failure.

Code that catches an error needs no table of causes: a `Rejected` is answered, an `Unavailable` is
retried, a `Poisoned` record is dead-lettered, a `Fenced` process stops, a `Misconfigured` one does
not start, and a `Forbidden` one waits for the permission.

Messages never hold personal data: no e-mail, name or age. They name records by their coordinates
and users by their id.
"""

from typing import Any

# The next step after a server denied access.
GRANT = (
    "grant it (`rollbook acl show` prints what each role needs) or correct the login; "
    "a process that is running then continues by itself"
)
# The next step after any server was unavailable.
CHECK_SERVER = "is it running? `rollbook status` shows that; `rollbook up` starts a local one"


class RollbookError(Exception):
    """A failure that rollbook can explain.

    `code` is stable and meant for programs; the message is one sentence for people; `next_step`
    says what they can do about it.
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None, next_step: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.next_step = next_step

    def __reduce__(self) -> tuple[Any, ...]:
        """Have another process get the same error, whatever arguments its class takes."""
        return _revived, (type(self), self.args, self.__dict__)


def _revived(
    kind: type[RollbookError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> RollbookError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class Rejected(RollbookError):
    """The command breaks a rule, or what was asked for does not exist: answer, do not retry.

    `user_id` names another user that the answer mentions: the holder of a taken address. `field`
    is the field that breaks the rule, where it is known.
    """

    default_code = "rejected"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        next_step: str = "",
        user_id: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message, code=code, next_step=next_step)
        self.user_id = user_id
        self.field = field


class NotInTime(RollbookError):
    """The wait ended before the answer came; the outcome of the command is unknown."""

    default_code = "not_in_time"


class Unavailable(RollbookError):
    """A server is unavailable: back off and retry, losing nothing."""

    default_code = "unavailable"


class Poisoned(RollbookError):
    """This record can never be read or applied: dead-letter it and continue."""

    default_code = "poisoned"


class Fenced(RollbookError):
    """Another process owns this partition or identity: stop now, change nothing more."""

    default_code = "fenced"


class Misconfigured(RollbookError):
    """Refuse to start; the message names the setting or the topic that is wrong."""

    default_code = "misconfigured"


class Forbidden(Misconfigured):
    """A server denies access: a command ends, a running process tries again every 30 s.

    The message names the missing permission. No restart is needed once the server grants it.
    """

    default_code = "forbidden"


class TlsFailed(Forbidden):
    """TLS with a server fails, so nothing is sent: as for a denied access, 30 s until the next try.

    The message names the cause and the setting. `server` is `kafka`, `registry`, `postgres` or
    `elasticsearch`.
    """

    def __init__(
        self, message: str, *, code: str | None = None, next_step: str = "", server: str = ""
    ) -> None:
        super().__init__(message, code=code, next_step=next_step)
        self.server = server


class CheckFailed(RollbookError):
    """An invariant does not hold: report it, change nothing."""

    default_code = "check_failed"
