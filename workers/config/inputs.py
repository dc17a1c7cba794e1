"""The fields of ``TrainConfig`` that change what a trial sees: sampling and augmentation.

Read by ``workers.training.feed``; augmentation amounts are vectors over the members of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.config.declare import named, real

SAMPLINGS = ("shuffled", "replacement", "balanced", "interleaved", "hard")


@dataclass(frozen=True, kw_only=True)
class InputFields:
    """Which examples, and how they are changed."""

    sampling: str = named(
        SAMPLINGS, "which training examples an epoch shows, in what order", shapes=True
    )
    hard_emphasis: float = real(
        1.0, "hard: the power of the last loss that an example's chance is in proportion to", low=0
    )
    input_noise: float = real(
        0.0, "the standard deviation of Gaussian noise on the preprocessed inputs", low=0
    )
    corruption: float = real(
        0.0,
        "the share of inputs set to 0 (masking noise; Vincent et al. 2008)",
        low=0,
        high=1,
        high_open=True,
    )
    translation: float = real(
        0.0,
        "images: shifted by up to this share of their sides (LeCun et al. 1998)",
        low=0,
        high=1,
        high_open=True,
    )
    rotation: float = real(0.0, "images: turned by up to so many degrees", low=0, high=180)
    scaling: float = real(
        0.0, "images: scaled by a factor in 1 ± this, even", low=0, high=1, high_open=True
    )
    flip: float = real(0.0, "images: the chance to be mirrored left to right", low=0, high=1)
    cutout: float = real(
        0.0,
        "images: the side of a square set to 0, as a share of theirs (DeVries and Taylor 2017)",
        low=0,
        high=1,
    )
    mixup: float = real(
        0.0,
        "the alpha of Beta(alpha, alpha) that mixes pairs of examples (Zhang et al. 2018)",
        low=0,
    )
