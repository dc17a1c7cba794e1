"""``device_name``: what a worker trains on, in words, as speeds are stored by it and shown.

Asked by the actor and by the in-process executor.
"""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Such as "cpu AMD EPYC 7763, 1 thread" or "cuda NVIDIA H200"; reads the process's threads."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"cpu {_processor()}, {threads} thread{'s' * (threads > 1)}"


def _processor() -> str:
    """Its name where Linux tells it, else what Python knows: at least the architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
