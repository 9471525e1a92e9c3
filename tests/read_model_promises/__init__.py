"""What every read model promises (`projectors.contract.read_model`), as tests for any of them.

    @pytest.mark.parametrize("promise", PROMISES, ids=name_of)
    def test_it_keeps_its_promises(promise: Promise, settings: Settings) -> None:
        with closing(Trial(lambda: MyVersions(settings))) as trial:
            promise(trial)

Each begins with an empty store. What the rows should be is told by the fold of the log.
"""

from tests.read_model_promises import data, versions
from tests.read_model_promises.trial import Promise, Trial, name_of

PROMISES: list[Promise] = [*data.PROMISES, *versions.PROMISES]

__all__ = ["PROMISES", "Promise", "Trial", "name_of"]
