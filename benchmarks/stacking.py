"""How much less time a trial takes when many are trained as one stacked model.

Run as ``python benchmarks/stacking.py``. One plain PyTorch loop, as its users write it, against the
training loop of this project: digits, MLP 64-50-10, batch 32, momentum, both with validation after
every epoch. Measured in turn, so that the ratio holds on a noisy machine.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable

import torch
from record import print_head
from torch import nn

from workers.config import TrainConfig
from workers.data import DataConfig, Dataset, load
from workers.messages import Member, TrialGroup
from workers.training.device import prepared_device
from workers.training.feed import DeviceData
from workers.training.loop import train

TARGET = 20
ROUNDS = 5
BATCH = 32


def main() -> None:
    """Print a line a width, and the verdict on the target."""
    print_head("torch", "numpy")
    dataset = load(DataConfig(source="digits"), seed=0)
    plain_us = {threads: _in_process(_plain_us, dataset, threads) for threads in (1, 2)}
    threads = min(plain_us, key=lambda count: plain_us[count])
    print(f"plain PyTorch loop: {plain_us[threads]:.0f} µs a step ({threads} threads, the faster)")
    for width in (1, 8, 32, 64, 128, 256, 512):
        _compare(dataset, width, threads)


def _compare(dataset: Dataset, width: int, threads: int) -> None:
    ratios, times_us = [], []
    for _ in range(ROUNDS):
        plain = _in_process(_plain_us, dataset, threads)
        ours = _all_cores_us(dataset, width)
        ratios.append(plain / ours)
        times_us.append(ours)
    ratio = statistics.median(ratios)
    verdict = f"; target {TARGET}: {'reached' if ratio >= TARGET else 'MISSED'}" * (width == 128)
    print(
        f"{os.cpu_count()} workers of {width} members each: {statistics.median(times_us):.1f} µs a "
        f"step and trial, {ratio:.1f} times less ({min(ratios):.1f} to {max(ratios):.1f}){verdict}"
    )


def _plain_us(dataset: Dataset, threads: int, out: multiprocessing.Queue[float]) -> None:
    """Time of one step of the loop that everybody writes."""
    torch.set_num_threads(threads)
    x, y = torch.tensor(dataset.inputs(dataset.x_train)), torch.tensor(dataset.y_train)
    x_val = torch.tensor(dataset.inputs(dataset.x_validation))
    y_val = torch.tensor(dataset.y_validation)
    net = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def epoch() -> None:
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            logits = net(x[index])
            loss = nn.functional.cross_entropy(logits, y[index])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = net(x_val)
            nn.functional.cross_entropy(logits, y_val).item()
            (logits.argmax(1) == y_val).double().mean().item()

    out.put(_step_us(epoch, len(x), epochs=20))


def _stacked_us(dataset: Dataset, width: int, out: multiprocessing.Queue[float]) -> None:
    """Time of one step of one member, on one core, as an actor trains."""
    members = tuple(
        Member(trial=i, seed=i, config=TrainConfig(learning_rate=0.01, batch_size=BATCH))
        for i in range(width)
    )
    epochs = max(3, 40 // width)
    group = TrialGroup(
        name="benchmark", members=members, order_seed=0, start_epoch=0, end_epoch=epochs + 1
    )
    with prepared_device(num_threads=1) as device:
        data = DeviceData(dataset, device)
        reports = train(group, data)
        next(reports)
        seconds = statistics.mean(report.seconds for report in reports)
    steps = -(-data.num_train // BATCH)
    out.put(seconds / steps / width * 1e6)


def _step_us(epoch: Callable[[], None], num_rows: int, epochs: int) -> float:
    epoch()
    started = time.perf_counter()
    for _ in range(epochs):
        epoch()
    return (time.perf_counter() - started) / epochs / -(-num_rows // BATCH) * 1e6


def _in_process(target: Callable[..., None], dataset: Dataset, argument: int) -> float:
    """In a process of its own, so that thread counts do not leak."""
    return _run([(target, dataset, argument)])[0]


def _all_cores_us(dataset: Dataset, width: int) -> float:
    """With a worker a core, as the executor has it: time a step and trial of all together."""
    count = os.cpu_count() or 1
    times = _run([(_stacked_us, dataset, width)] * count)
    return 1 / sum(1 / each for each in times)


def _run(calls: list[tuple[Callable[..., None], Dataset, int]]) -> list[float]:
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    processes = [context.Process(target=f, args=(data, n, out)) for f, data, n in calls]
    for process in processes:
        process.start()
    found = [out.get() for _ in processes]
    for process in processes:
        process.join()
    return found


if __name__ == "__main__":
    main()
