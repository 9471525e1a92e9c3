"""The meters of all versions of a read model that one process keeps up to date."""

from collections.abc import Iterable

from projectors.contract.read_model import ReadModelVersions, Version
from projectors.engine.meter import Meter, RecordingMeter
from projectors.log.tails import LogTails
from runtime.metrics.follower import Measurement, follow
from runtime.metrics.health import HEALTH
from runtime.metrics.open_letters import OpenLetters
from runtime.metrics.recording import VALUES
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.letters import PROJECTOR


class VersionMeters:
    """A meter for each version; all ignore what they are told unless metrics are served."""

    def __init__(self, settings: Settings, versions: ReadModelVersions, stop: StopSignal) -> None:
        self._name = versions.name
        self._meters: dict[int, RecordingMeter] = {}
        self._measurements: list[Measurement] = []
        self._tails: LogTails | None = None
        if settings.metrics_listen:
            self._tails = LogTails(settings, versions.source)
            self._measurements.append(OpenLetters(settings, f"{PROJECTOR}{self._name}"))
            follow(settings, self._measurements, stop)

    def of(self, number: int) -> Meter:
        """Return the meter of a version."""
        if self._tails is None:
            return Meter()
        if number not in self._meters:
            meter = RecordingMeter(HEALTH, VALUES, self._tails, self._name, number)
            self._meters[number] = meter
            self._measurements.append(meter)
        return self._meters[number]

    def listed(self, versions: Iterable[Version]) -> None:
        """Note which versions exist now, and which one is live."""
        live = {version.number: version.live for version in versions}
        for number, meter in list(self._meters.items()):
            if number in live:
                meter.is_live(live[number])
            else:
                del self._meters[number]
                self._measurements.remove(meter)
                meter.close()
