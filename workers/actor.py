"""TrainingWorker: what owns one device and trains groups on it, in a process of its own.

Made an actor by ``hpsearch.executors.ray``, and made in ``workers.process``; only the process that
it is made in loads torch.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from workers.messages import CheckPlan, CheckResult, Report, TrialGroup

if TYPE_CHECKING:
    from workers.data import Dataset
    from workers.training.parallel import Mesh


def import_training() -> None:
    """Load PyTorch and all that trains; it takes seconds, in which the data may still be read."""
    gc.disable()  # nothing that is imported is garbage, and PyTorch is much: 0.1 s sooner
    import workers.training.feed
    import workers.training.loop  # noqa: F401 - loaded for those who import it after this

    gc.freeze()
    gc.enable()


@contextmanager
def ended_with_peers() -> Iterator[None]:
    """End this process if a device that it trains with is gone: for the executor it is lost too."""
    from workers.training.parallel import PeersLost

    try:
        yield
    except PeersLost as lost:
        print(f"a device of this worker is gone: {lost}", file=sys.stderr, flush=True)
        os._exit(1)  # at once, for torch would wait for them as it ends


class TrainingWorker:
    """Holds the data and the last checkpoints on its device; one group trains at a time.

    Of a worker of several devices each has one of these; they train each group together.
    """

    def __init__(self, dataset: Dataset, num_threads: int, name: str, num_sharing: int = 1) -> None:
        """``num_sharing`` devices share this one's GPU, or its machine where there is none."""
        import_training()
        from workers.training import loop
        from workers.training.device import prepared_device
        from workers.training.feed import DeviceData
        from workers.training.kept import KeptCheckpoints
        from workers.training.parallel import ONE

        self._train = loop.train
        self._name = name
        self._settings = ExitStack()  # never closed: they are those of this process
        device = self._settings.enter_context(prepared_device(num_threads))
        self._data = DeviceData(dataset, device, num_sharing)
        self._kept: KeptCheckpoints | None = KeptCheckpoints.of_device(device, num_sharing)
        self._mesh: Mesh = ONE

    def __repr__(self) -> str:  # what the dashboard and the logs show
        return self._name

    def join(self, meeting: str, rank: int, num: int, form: str) -> None:
        """Become device ``rank`` of the ``num`` that meet at ``meeting``; returns when all have.

        ``form`` is how they part the work, see ``workers.config.parallel``.

        What they keep in memory is not used: that one of them is short of it would part them.
        """
        from workers.training.parallel.joined import joined

        with ended_with_peers():
            self._mesh, self._kept = joined(meeting, rank, num, form, self._data.device), None

    def train(self, group: TrialGroup) -> Iterator[Report]:
        """Train ``group`` and stream its Reports as the epochs end, if this is the first device."""
        with ended_with_peers():
            for report in self._train(group, self._data, self._kept, self._mesh):
                if self._mesh.whole.rank == 0:
                    yield report

    def check(self, plan: CheckPlan) -> list[CheckResult]:
        """Everything that is checked before a search."""
        from workers.training.checks import check

        return list(check(plan, self._data, self._mesh))

    def device_name(self) -> str:
        """What trains here; alike on all workers that train alike fast."""
        from workers.training.device_name import device_name

        return device_name(self._data.device)

    def held_bytes(self) -> int:
        """What it holds of its device's memory now."""
        from workers.training.device import held_bytes

        return held_bytes(self._data.device)

    def pid(self) -> int:
        """The process of this worker; answers once its data are on the device."""
        return os.getpid()
