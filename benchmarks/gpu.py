"""How many trials a second a GPU trains, beside a plain PyTorch loop on the same GPU.

Run as ``python benchmarks/gpu.py``, on a machine with a GPU; of this project it needs ``workers``
alone, with torch, numpy and safetensors. The plain loop is measured as everybody writes it, and
with its step captured in a ``torch.cuda.CUDAGraph``; ours is to beat the faster. Fractions of the
limit are those of limit.py, with the GPU's own rates. ``--device cpu --widths 1 8`` tries all but
the capture where there is no GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from limit import (
    KINDS,
    Kind,
    Machine,
    core_cache,
    epoch_seconds,
    limit_seconds,
    random_dataset,
    synchronize,
)
from plain import Examples, accuracy, examples_of, network, new_optimizer, train_epoch
from record import print_head, print_others, verdict
from torch.nn import functional as F

from workers.training.device import prepared_device
from workers.training.feed import DeviceData

BATCH, EPOCHS = 64, 4  # the first epoch does not count
WIDTHS = 1, 8, 64, 512, 4096, 8192
TARGETS = {"digits MLP": 100, "MNIST MLP": 100, "MNIST CNN": 5}
PARAMS = {"optimizer": "momentum", "learning_rate": 0.01, "weight_decay": 0.0, "batch_size": BATCH}


def main() -> None:
    """Print a line a network and width, and a verdict a network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS))
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this benchmark needs a GPU that PyTorch can use, and finds none")
    print_head("torch", "numpy")
    print_others()
    with prepared_device(num_threads=1):
        device = torch.device(given.device)
        machine = _machine(device)
        for kind in KINDS:
            _measure(kind, given.widths, machine, device)


def _machine(device: torch.device) -> Machine:
    """The device's rates; trials are trained in float32 proper, so TF32 is only told."""
    if device.type != "cuda":
        return Machine.measured(device, core_cache())
    properties = torch.cuda.get_device_properties(device)
    found = {}
    for precision in ("high", "highest"):  # TF32 on, off
        torch.set_float32_matmul_precision(precision)
        found[precision] = Machine.measured(device, properties.L2_cache_size)
    tf32, machine = found["high"], found["highest"]
    print(
        f"{properties.name}: {machine.operations / 1e12:.1f} TFLOP/s (torch.mm; with TF32 "
        f"{tf32.operations / 1e12:.1f}), {machine.bandwidth / 1e9:.0f} GB/s, "
        f"{machine.cache / 2**20:.0f} MiB of cache"
    )
    return machine


def _measure(kind: Kind, widths: Sequence[int], machine: Machine, device: torch.device) -> None:
    dataset = random_dataset(kind)
    examples = examples_of(dataset, images=kind.train.get("model") == "cnn").to(device)
    plain_s = _plain_seconds(kind, examples)
    data, ratios = DeviceData(dataset, device), []
    for width in widths:
        try:
            seconds = epoch_seconds(kind, BATCH, width, data, EPOCHS)
        except torch.OutOfMemoryError:
            print(f"{kind.name}, width {width}: does not fit into the device's memory")
            continue
        ratios.append(plain_s * width / seconds)
        limit_s, by = limit_seconds(kind, BATCH, width, machine)
        print(
            f"{kind.name}, width {width}: {width / seconds:.1f} trials a second and epoch, "
            f"{ratios[-1]:.1f} times the plain loop; {limit_s / seconds:.3f} of the limit, by {by}"
        )
    target, best = TARGETS[kind.name], max(ratios, default=0.0)
    said = verdict(f"{target}", reached=best >= target) if device.type == "cuda" else ""
    print(f"{kind.name}: at most {best:.1f} times the plain loop{said}", flush=True)


def _plain_seconds(kind: Kind, examples: Examples) -> float:
    """Of an epoch of one trial after the other: the better of eager and captured."""
    eager_s = _median_s(_eager_epoch(kind, examples), examples.x.device)
    said = f"{kind.name}: plain PyTorch loop {1 / eager_s:.2f} trials a second and epoch"
    if examples.x.device.type != "cuda":
        print(said)
        return eager_s
    captured_s = _median_s(_captured_epoch(kind, examples), examples.x.device)
    print(f"{said}, {1 / captured_s:.2f} with its step captured")
    return min(eager_s, captured_s)


def _eager_epoch(kind: Kind, examples: Examples) -> Callable[[], object]:
    net = network(examples.x[0].cpu(), kind.train).to(examples.x.device)
    optimizer = new_optimizer(net, PARAMS)

    def epoch() -> float:
        train_epoch(net, optimizer, examples, BATCH)
        return accuracy(net, examples)

    return epoch


def _captured_epoch(kind: Kind, examples: Examples) -> Callable[[], object]:
    """The same, each step a replay on the same two tensors; a last, smaller minibatch is left out.

    The way of https://docs.pytorch.org/docs/stable/notes/cuda.html: some steps on another stream
    first, so that no memory is asked for within the capture that is not the graph's own.
    """
    net = network(examples.x[0].cpu(), kind.train).to(examples.x.device)
    optimizer = new_optimizer(net, PARAMS)
    x_B, y_B = examples.x[:BATCH].clone(), examples.y[:BATCH].clone()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x_B), y_B).backward()
        optimizer.step()

    graph = _captured(step)

    def epoch() -> float:
        order = torch.randperm(len(examples.x), device=examples.x.device)
        for index in order[: len(order) // BATCH * BATCH].split(BATCH):
            torch.index_select(examples.x, 0, index, out=x_B)
            torch.index_select(examples.y, 0, index, out=y_B)
            graph.replay()
        return accuracy(net, examples)

    return epoch


def _captured(step: Callable[[], None]) -> torch.cuda.CUDAGraph:
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def _median_s(epoch: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(EPOCHS):
        synchronize(device)
        started = time.perf_counter()
        epoch()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
