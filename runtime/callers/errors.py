"""Why a request is refused before anything looks at what it asks for."""

from schemas.errors import Rejected


class Unauthenticated(Rejected):
    """No valid key or token came with the request."""

    default_code = "unauthenticated"


class TooManyRequests(Rejected):
    """The caller makes more requests than it may; it may try again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            "too many requests",
            code="too_many_requests",
            next_step="wait as long as Retry-After says",
        )
        self.seconds = seconds
