"""How a rule for a setting is stated."""

from schemas.errors import Misconfigured


class WrongValueError(Misconfigured):
    """A setting whose value cannot work; `origin` is where it came from, '' if unknown."""

    def __init__(self, name: str, rule: str, origin: str = "") -> None:
        where = f" from {origin}" if origin else ""
        super().__init__(
            f"setting {name}{where} {rule}", code="bad_setting", next_step="correct it"
        )
        self.name = name
        self.rule = rule


def require(condition: bool, name: str, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `WrongValueError` about setting `name` unless the condition holds."""
    if not condition:
        raise WrongValueError(name, rule)
