"""How long a trial's epoch takes on several devices, by how they part the work, beside one.

Run as ``python benchmarks/devices.py``. A column for GPUs, one for CPU cores as processes that
talk by gloo, a thread each; what a machine has not, is said and left empty.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from limit import Kind, random_dataset
from record import print_head, print_others

from hpsearch.executors.base import Ended, Reported
from hpsearch.executors.crew import Crew
from hpsearch.executors.machine import num_cpus, visible_gpus
from hpsearch.executors.processes import ProcessExecutor
from hpsearch.spec.search import Resources
from workers.config import TrainConfig
from workers.messages import Member, TrialGroup

EPOCHS = 6  # the first one does not count
PLACES = {"GPUs": {}, "CPU cores": {"gpus_per_worker": 0}}


@dataclass(frozen=True)
class Row:
    """So many devices for a trial, in this form."""

    devices: int
    form: str

    def __str__(self) -> str:
        return "1" if self.devices == 1 else f"{self.devices} {self.form}"


ROWS = (Row(1, "data"), Row(2, "data"), Row(2, "model"), Row(4, "data"), Row(4, "hybrid"))


def _kind(name: str, num_train: int, batch_size: int, **train: Any) -> Kind:
    return Kind(
        name=name,
        train={"batch_size": batch_size, "optimizer": "momentum", **train},
        image=(28, 28),
        num_train=num_train,
        num_validation=512,
        widths=(),
    )


KINDS = (
    _kind("MLP 784-1024-1024-10", 8192, 1024, hidden_units=(1024, 1024)),
    _kind("CNN 32-64", 1024, 128, model="cnn", channels=(32, 64), hidden_units=()),
    _kind("MLP 784-50-10", 8192, 64, hidden_units=(50,)),
)


def main() -> None:
    """Print a table a kind of network: a line for each number and form of devices."""
    print_head("torch", "numpy")
    print_others()
    for kind in KINDS:
        batch = kind.train["batch_size"]
        print(f"{kind.name}, batch {batch}: seconds an epoch, and times those of one device")
        first: dict[str, float] = {}
        for row in ROWS:
            cells = [f"{place} {_cell(kind, row, place, first)}" for place in PLACES]
            print(f"  {row}: {'; '.join(cells)}", flush=True)


def _cell(kind: Kind, row: Row, place: str, first: dict[str, float]) -> str:
    """What is measured, or - for what is not; ``first`` has what one device took by place."""
    there = len(visible_gpus()) if place == "GPUs" else num_cpus()
    if there < row.devices:
        return f"- (there are {there})"
    seconds = _seconds(kind, row, place)
    first.setdefault(place, seconds)
    return f"{seconds:.3f} s, {seconds / first[place]:.2f}"


def _seconds(kind: Kind, row: Row, place: str) -> float:
    """An epoch of one trial, validation included: the median of those after the first."""
    resources = Resources(
        workers=1, devices_per_trial=row.devices, parallel=row.form, **PLACES[place]
    )
    crew = Crew(resources)
    crew.pool = replace(crew.pool, threads=1)  # so that a device is as much in each line
    with closing(ProcessExecutor(crew, random_dataset(kind), "devices")) as executor:
        assert executor.device
        executor.start(1, _group(kind))
        updates: list[Any] = []
        while not updates or isinstance(updates[-1], Reported):
            updates += executor.wait(60.0)
    assert isinstance(updates[-1], Ended), updates[-1]
    return median(update.report.seconds for update in updates[1:-1])


def _group(kind: Kind) -> TrialGroup:
    member = Member(trial=0, seed=0, config=TrainConfig(learning_rate=0.01, **kind.train))
    return TrialGroup(
        name="devices", members=(member,), order_seed=0, start_epoch=0, end_epoch=EPOCHS
    )


if __name__ == "__main__":
    main()
