"""The tests that every read model must pass, for ours and for custom ones.

    @pytest.mark.parametrize("promise", PROMISES, ids=promise_name)
    def test_it_keeps_its_promises(promise: Promise, settings: Settings) -> None:
        with closing(Trial(lambda: MyVersions(settings))) as trial:
            promise(trial)

Each promise starts with an empty store. What the rows should be is computed by folding the same
events. Public, together with `projectors.contract` and `projectors.command_line`; it needs pytest
(the extra `testing`).
"""

import pytest

# Before the modules are imported, so that a failed assertion shows the values compared.
pytest.register_assert_rewrite(
    "projectors.promises.data", "projectors.promises.trial", "projectors.promises.versions"
)

from projectors.promises import data, versions  # noqa: E402, F401 - they register theirs
from projectors.promises.events import user_event, user_id  # noqa: E402
from projectors.promises.trial import PROMISES, Promise, Trial, promise_name  # noqa: E402

__all__ = ["PROMISES", "Promise", "Trial", "promise_name", "user_event", "user_id"]
