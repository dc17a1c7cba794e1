"""What the network is shown: finite, centred, on one scale; and how the targets are spread.

Called by ``check`` once for all probes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.messages import CheckResult, Verdict
from workers.training.checks.subject import Subject

MOST_EXAMPLES = 10_000  # of the training part: means to within a hundredth of a deviation
# An input off centre by as much as its deviation doubles the mean curvature along one direction
# (LeCun et al. 1998, "Efficient BackProp", 4.3); half of it is still harmless.
OFF_CENTRE, FAR_OFF_CENTRE = 0.5, 10.0
# Of the largest deviation of a feature to the median one: curvature grows with its square.
UNEVEN, VERY_UNEVEN = 10.0, 1000.0
UNBALANCED = 3.0  # of the largest class to the smallest
OUTLYING = 10.0  # deviations of a target from the mean
# Of an input from the mean of its feature, in typical deviations of all features: one example out
# there outweighs four hundred in a gradient's square. A Gaussian's farthest of 1e9 lies at 6.
FAR_OUT = 20.0


def inputs(subject: Subject) -> CheckResult:
    """Finite; the mean small against the deviation; features on comparable scales; none far out.

    The last is seen of the validation part too: a feature that hardly varies in training, divided
    by its deviation there, may be hundreds in an example that training never saw.
    """
    places = subject.order()[:MOST_EXAMPLES]
    x_NF = subject.batch(places, torch.float64).x_mBF[0]
    held_out_nF = subject.held_out(MOST_EXAMPLES, torch.float64)
    num_seen = len(x_NF) + len(held_out_nF)
    num_bad = sum(int((~x.isfinite()).any(1).sum()) for x in (x_NF, held_out_nF))
    if num_bad:
        text = f"{num_bad} of {num_seen} examples are not finite; mend the data"
        return _of_data("inputs", "fail", text, examples=num_seen, not_finite=num_bad)
    mean_F, deviation_F = x_NF.mean(0), x_NF.std(0, correction=0)
    varying_F = deviation_F[deviation_F > 0]
    if not len(varying_F):
        text = f"all {x_NF.shape[1]} features are constant; there is nothing to learn from"
        return _of_data("inputs", "fail", text, examples=len(x_NF), not_finite=0)
    typical = _rms(deviation_F)
    offset = _rms(mean_F) / typical
    scales = (varying_F.max() / varying_F.median()).item()
    verdict, advice = _verdict_of_inputs(subject, offset, scales)
    farthest_F = torch.maximum(_farthest(x_NF, mean_F), _farthest(held_out_nF, mean_F)) / typical
    farthest, num_far = farthest_F.max().item(), int((farthest_F > FAR_OUT).sum())
    if num_far:
        verdict = "warn" if verdict == "pass" else verdict
        advice += _advice_on_far(subject, farthest, num_far)
    text = (
        f"finite; off centre by {offset:.2g} deviations; deviation {typical:.3g}, the largest "
        f"{scales:.2g} times the median; {x_NF.shape[1] - len(varying_F)} of {x_NF.shape[1]} "
        f"features constant{advice}"
    )
    numbers = {"examples": num_seen, "not_finite": 0, "offset": offset, "scales": scales}
    numbers |= {"farthest": farthest, "far_features": num_far}
    return _of_data("inputs", verdict, text, **numbers, deviation=typical)


def _verdict_of_inputs(subject: Subject, offset: float, scales: float) -> tuple[Verdict, str]:
    advice = ""
    if offset > OFF_CENTRE:
        advice = "; centre them: preprocess: [zero_center]"
    if scales > UNEVEN:
        advice = "; put them on one scale: preprocess: [standardize]"
        if subject.data.shape.image is not None:  # where that would blow up what hardly varies
            advice = "; most pixels hardly vary: crop the images"
    if offset > FAR_OFF_CENTRE or scales > VERY_UNEVEN:
        return "fail", advice
    return ("warn" if advice else "pass"), advice


def _advice_on_far(subject: Subject, farthest: float, num_far: int) -> str:
    text = f"; {num_far} nearly constant features or ones with outliers reach {farthest:.3g} "
    text += "deviations: "
    if subject.data.shape.image is not None:
        return f"{text}for images use preprocess: [channel_mean] or [zero_center]"
    return f"{text}leave them out, or clip them"


def _farthest(x_NF: Tensor, mean_F: Tensor) -> Tensor:
    """The largest distance from the mean, [F]."""
    return (x_NF - mean_F).abs().amax(0)


def targets(subject: Subject) -> CheckResult:
    """Balanced classes, or how not; of a regression finite targets without far outliers."""
    counts_kC = subject.data.class_counts_kC
    if counts_kC is None:
        return _numbers(subject.data.train_targets_kN[0])
    counts = counts_kC[0].tolist()
    total, most, least = sum(counts), max(counts), min(counts)
    shares = f"{len(counts)} classes, {least / total:.1%} to {most / total:.1%} of {total} examples"
    if least == 0:
        text = f"{shares}: {counts.count(0)} classes have no training example"
        return _of_data("classes", "warn", text, counts=counts)
    if most / least > UNBALANCED:
        text = (
            f"{shares}, the largest {most / least:.1f} times the smallest: set class_weights: "
            "balanced, or rank by val_balanced_accuracy"
        )
        return _of_data("classes", "warn", text, counts=counts)
    return _of_data("classes", "pass", f"balanced: {shares}", counts=counts)


def _numbers(y_N: Tensor) -> CheckResult:
    if not bool(y_N.isfinite().all()):
        text = "some targets are not finite; mend the data"
        return _of_data("targets", "fail", text)
    deviation = y_N.std(correction=0).item()
    farthest = ((y_N - y_N.mean()).abs().max() / deviation).item()
    text = f"{len(y_N)} numbers, the farthest {farthest:.1f} deviations from their mean"
    if farthest > OUTLYING:
        text += ": it outweighs all others in a squared error; look at it, or use loss: huber"
    verdict: Verdict = "warn" if farthest > OUTLYING else "pass"
    return _of_data("targets", verdict, text, farthest=farthest)


def _rms(numbers: Tensor) -> float:
    return numbers.square().mean().sqrt().item()


def _of_data(name: str, verdict: Verdict, text: str, **evidence: object) -> CheckResult:
    return CheckResult(name=name, probe=None, verdict=verdict, text=text, evidence=evidence)
