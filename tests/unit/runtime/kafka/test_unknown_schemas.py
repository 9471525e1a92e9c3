import time

import pytest

from runtime.kafka.unknown_schemas import UnknownSchemas
from schemas.errors import Poisoned


def test_an_unknown_schema_is_looked_up_again_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After 0.2 s, 0.4 s, 0.8 s …, and at last once a minute."""
    now, pauses = 100.0, []
    monkeypatch.setattr(time, "monotonic", lambda: now)
    unknown = UnknownSchemas()
    for _ in range(12):
        unknown.check(7)
        assert unknown.added(7).code == "unknown_schema"
        until = unknown._until[7][0]
        pauses.append(round(until - now, 3))
        now = until - 0.01
        with pytest.raises(Poisoned):
            unknown.check(7)
        unknown.check(8)
        now = until
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses[-2:] == [60.0, 60.0]
