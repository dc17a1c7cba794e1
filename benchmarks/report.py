"""How long a report takes, and how large it is: a search of 5,000 trials that were trained.

Run as ``nice python benchmarks/report.py``; searches for some minutes first, in a folder that it
makes and removes, and prints a record for benchmarks/results. A report is timed as a user meets it:
the process, from its start to its end.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import print_head, print_others, verdict

import hpsearch

NUM_TRIALS, EPOCHS = 5000, 5
REPEATS = 5
MOST_S, MOST_MB = 10.0, 15.0
SPEC: dict[str, Any] = {
    "name": "many",
    "data": {"source": "digits", "preprocess": ["zero_center"]},
    "train": {"hidden_units": [50]},
    "space": {
        "optimizer": {"choice": ["sgd", "momentum", "adam", "rmsprop"]},
        "learning_rate": {"log_uniform": [1e-5, 10]},
        "weight_decay": {"log_uniform": [1e-6, 1.0]},
        "momentum": {"uniform": [0.8, 0.99], "when": {"optimizer": "momentum"}},
        "dropout": {"uniform": [0.0, 0.8]},
        "batch_size": {"choice": [32, 64]},
        "activation": {"choice": ["relu", "tanh"]},
    },
    "stages": [{"name": "coarse", "trials": NUM_TRIALS, "epochs": EPOCHS, "expand": 0}],
}
ARGUMENTS = {
    "report": ["report", "many", "-o", "report.html"],
    "plot --kind axes": ["plot", "many", "--kind", "axes", "-o", "axes.png"],
    "plot --kind curves": ["plot", "many", "--kind", "curves", "-o", "curves.png"],
}


def main() -> None:
    """Print a line a command, under what it was measured on."""
    print_head("plotly", "matplotlib", "pandas", "numpy", "torch")
    print_others()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        began = time.perf_counter()
        trials = hpsearch.run(SPEC).trials()
        counts = trials["state"].value_counts().to_dict()
        told = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        print(f"searched in {time.perf_counter() - began:.0f} s: {told}; {EPOCHS} epochs each")
        for words, arguments in ARGUMENTS.items():
            _measure(words, arguments)


def _measure(words: str, arguments: list[str]) -> None:
    times_s = [_timed(arguments) for _ in range(REPEATS)]
    size_mb = Path(arguments[-1]).stat().st_size / 1e6
    median, worst = statistics.median(times_s), max(times_s)
    line = f"{words}: median {median:.1f} s, worst {worst:.1f} s, {size_mb:.1f} MB"
    if words == "report":
        reached = worst < MOST_S and size_mb < MOST_MB
        line += verdict(f"{MOST_S:.0f} s and {MOST_MB:.0f} MB", reached=reached)
    print(line)


def _timed(arguments: list[str]) -> float:
    command = [sys.executable, "-m", "hpsearch", *arguments]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
