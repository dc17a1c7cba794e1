"""The trainable of ``tune.py``, in a file that workers can import."""

from __future__ import annotations

from ray import tune


def trivial(config: dict[str, float]) -> None:
    """One report, of nothing."""
    tune.report({"loss": config["rate"]})
