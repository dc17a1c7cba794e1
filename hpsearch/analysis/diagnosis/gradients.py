"""Rules on gradients and updates: exploding, vanishing, a start that does not move, update ratio.

Applied by ``diagnose``. Sources: Glorot and Bengio 2010; He et al. 2015; Goodfellow et al., Deep
Learning, 8.2.4, 8.2.5 and 8.4; cs231n notes, "Ratio of weights:updates".
"""

from __future__ import annotations

import numpy as np

from hpsearch.analysis.diagnosis.curve import Array, Context, Curve
from hpsearch.analysis.diagnosis.finding import (
    MOVES,
    SETTLED,
    Finding,
    at_start,
    chance_loss,
    lowered,
    median,
    setting,
    starts_symmetric,
    starts_unscaled,
)
from hpsearch.analysis.diagnosis.guessing import rate_blew_up
from hpsearch.analysis.diagnosis.rate import falls_steadily

FADES = 1e-3  # of the largest layer's gradient norm: such a layer stands still
GROWS = 1e3  # times the last layer's
LEAST_LAYERS = 3
STEEP = 100.0  # gradient norm of a class loss, whose gradient by the logits is at most about 1
OWN_FAULT = 0.1  # an update ratio that makes gradients explode by itself: the rate's doing
TOO_WIDE = 0.5  # a scale of initial weights that He's sqrt(2 / n) allows for up to 8 inputs only
FLAT = 0.01  # of the loss, over the first epochs
NEAR_CHANCE = 0.05  # of ln C
LEFT = 0.9  # of the first loss: below, it has begun to learn
STILL, WILD = 1e-5, 0.1  # update ratios a hundred times off the healthy 1e-3


def exploding_gradients(curve: Curve, context: Context) -> Finding | None:
    """Gradients too large from the start: by layer, or altogether.

    By layer: the first has 1000 times the norm of the last. Altogether, for classes: a norm of 100
    or more in the first epochs where the rate is not what did it (an update ratio below 0.1, or an
    initialization that does not look at the fan-in). Or the first epoch diverged from weights drawn
    with a given scale of 0.5 or more. Not of a trial that the rate blew up from a scaled start: its
    gradients are those of the weights that it was thrown to.
    """
    if curve.diverged and len(curve) <= 1 and _starts_wide(curve):
        scale = float(curve.settings["init_scale"])
        return _exploding(
            f"diverged in the first epoch from weights of scale {scale:g}", {"init_scale": scale}
        )
    if rate_blew_up(curve, context):
        return None
    layers_L = _typical_layers(curve)
    if len(layers_L) and layers_L[0] >= GROWS * layers_L[-1] > 0:
        ratio = float(layers_L[0] / layers_L[-1])
        what = f"the gradient grows {ratio:.3g}-fold from the last to the first layer"
        return _exploding(what, {"ratio": ratio, "layers": len(layers_L)})
    norms = curve.known("gradient_norm")
    if not len(norms) or not len(curve.known("train_accuracy")) or norms[0] < STEEP:
        return None
    ratios = curve.known("update_ratio")
    is_unscaled = starts_unscaled(curve)
    if not is_unscaled and (not len(ratios) or ratios[0] >= OWN_FAULT):
        return None
    if setting(curve, "optimizer") == "rprop" and not is_unscaled:
        return None  # it looks at signs only: the norm does nothing, and comes of its steps
    what = f"the gradient's norm is {norms[0]:.3g} in the first epoch"
    return _exploding(what, {"gradient_norm": float(norms[0])})


def vanishing_gradients(curve: Curve, context: Context) -> Finding | None:
    """The first trained layer, and those after it, have under 1/1000 of the largest layer's norm.

    Norms are medians over the epochs; needs 3 layers. Saturating activations multiply the gradient
    by at most 1/4 (sigmoid) a layer (Glorot and Bengio 2010). Frozen layers are not meant, nor is
    a start at zeros, under which nothing but the head has a gradient: ``initialization`` says so.
    """
    layers_L = _typical_layers(curve)
    if not len(layers_L) or layers_L.max() <= 0 or starts_symmetric(curve):
        return None
    share_L = layers_L / layers_L.max()
    first = _frozen(curve)
    faded = int(np.argmax(np.append(share_L[first:] >= FADES, True)))
    if not faded:
        return None
    return Finding(
        kind="vanishing_gradients",
        message=f"the gradient vanishes in {_layers(first + 1, first + faded)} of {len(layers_L)}: "
        f"the first has {share_L[first]:.1e} of the largest layer's norm; use relu and kaiming "
        "initialization, normalization, or fewer layers",
        evidence={"first": first + 1, "last": first + faded, "share": float(share_L[first])},
    )


def initialization(curve: Curve, context: Context) -> Finding | None:
    """The loss stays at chance from the start although the weights are moved: a bad start.

    Flat: the first 3 epochs differ by under 1 %; at chance: the loss within 5 % of ln C, or the
    score no better than guessing. A loss that falls steadily, or steps under 3e-4 of the weights,
    are the rate's doing; a warm start has no chance to start from.
    """
    loss = curve.whole("train_loss", epochs=SETTLED)
    if loss is None or curve.settings.get("warm_start"):
        return None
    start = loss[:SETTLED]
    is_flat = start.max() - start.min() < FLAT * abs(start.mean())
    if not is_flat or falls_steadily(loss) or _stands(curve) or not _at_chance(curve, context):
        return None
    chance = f" (ln {context.num_classes} is chance)" if context.num_classes else ""
    return Finding(
        kind="initialization",
        message=f"the training loss is flat at {start.mean():.4g}{chance} {_until(loss)}: the "
        f"start is bad; {_cure(curve)}",
        evidence={"train_loss": float(start.mean()), "epochs": _flat_epochs(loss)},
    )


def update_ratio(curve: Curve, context: Context) -> Finding | None:
    """The norm of an update is a hundred times off 1e-3 of that of the weights, or more.

    Too large: the median of the epochs is at least 0.1. Too small: none is above 1e-5, so that a
    schedule which ends at nothing is not meant.
    """
    ratios = curve.known("update_ratio")
    if len(ratios) < SETTLED:
        return None
    typical, largest = median(ratios), float(ratios.max())
    if typical < WILD and largest > STILL:
        return None
    cure = lowered(curve, "by a factor of 10") if typical >= WILD else "raise the learning rate"
    return Finding(
        kind="update_ratio",
        message=f"an update moves the weights by {typical:.1e} of their norm, and about 1e-3 is "
        f"healthy: {cure}",
        evidence={"median": typical, "largest": largest},
    )


def _exploding(what: str, evidence: dict[str, float]) -> Finding:
    return Finding(
        kind="exploding_gradients",
        message=f"{what}: start from weights scaled by the fan-in (kaiming, xavier), normalize, or "
        "clip the gradient (gradient_clip_norm)",
        evidence=evidence,
    )


def _typical_layers(curve: Curve) -> Array:
    """The median norm of each layer over the epochs in which all are finite, [L].

    [0] where nothing is stored, or of fewer than 3 layers, along which nothing can be followed.
    """
    if curve.layers_NL.shape[1] < LEAST_LAYERS:
        return np.empty(0)
    finite = curve.layers_NL[np.isfinite(curve.layers_NL).all(1)]
    return np.median(finite, axis=0) if finite.size else np.empty(0)


def _starts_wide(curve: Curve) -> bool:
    return starts_unscaled(curve) and float(curve.settings.get("init_scale") or 0.0) >= TOO_WIDE


def _frozen(curve: Curve) -> int:
    return int(curve.settings.get("frozen_layers") or 0)


def _layers(first: int, last: int) -> str:
    return f"layer {first}" if first == last else f"layers {first} to {last}"


def _stands(curve: Curve) -> bool:
    ratios = curve.known("update_ratio")[:SETTLED]
    return bool(len(ratios) and ratios.max() < MOVES)


def _at_chance(curve: Curve, context: Context) -> bool:
    """Whether the first epochs are as good as guessing; C unknown: under 60 % correct."""
    classes, chance = context.num_classes, chance_loss(curve, context)
    if chance is not None:
        return abs(at_start(curve.series["train_loss"]) - chance) <= NEAR_CHANCE * chance
    score = curve.score("train")
    if score is None:
        return False
    if curve.whole("train_accuracy") is None:
        return at_start(score) <= NEAR_CHANCE
    return at_start(score) <= (1.5 / classes if classes else 0.6)


def _flat_epochs(loss: Array) -> int:
    """Epochs until the loss has left its start, or all."""
    left = np.flatnonzero(loss < LEFT * loss[0])
    return int(left[0]) if len(left) else len(loss)


def _until(loss: Array) -> str:
    epochs = _flat_epochs(loss)
    return f"in all {epochs} epochs" if epochs == len(loss) else f"for the first {epochs} epochs"


def _cure(curve: Curve) -> str:
    if starts_symmetric(curve):
        name = curve.settings["initialization"]
        what = f"under {name} all units of a layer are alike and stay so"
        return f"{what}: draw the weights at random (kaiming)"
    if setting(curve, "initialization").startswith("kaiming"):
        return "normalize, use relu, or standardize the inputs"
    return "scale the initial weights by the fan-in (kaiming, xavier), normalize, or use relu"
