"""Whether several devices can each take a part of a minibatch, with a network of the user's own.

Asked by ``limits``. It is tried: what a module's code does with a minibatch nothing else tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from workers.config import TrainConfig
from workers.config.own import said
from workers.training.columns import Columns
from workers.training.models.base import Pass
from workers.training.models.own import OwnModel
from workers.training.parallel.portion import Portion

_NUM_TRIED = 3  # examples
_CLOSE = 1e-3  # relative: a part and the whole may round otherwise
Tensors = Mapping[str, Tensor]


@lru_cache(maxsize=64)
def refuses_parts(model: OwnModel, num_features: int) -> str | None:
    """Why they cannot; None if they can.

    Each part of some examples must give what the whole gives for it, and leave nothing behind that
    depends on which part it was.
    """
    reason, norm = _tried(model, num_features), model.batch_norm()
    return reason if reason is None or norm is None else f"its {norm} reads whole minibatches"


def _tried(model: OwnModel, num_features: int) -> str | None:
    keyed, whole = torch.Generator(), Portion(0, _NUM_TRIED, _NUM_TRIED)
    x = torch.rand(1, len(whole), num_features, generator=keyed)
    rows = {name: tensor[None] for name, tensor in model.fresh(keyed).items()}
    try:
        expected, after = _outputs(model, rows, x, whole)
        changed = [name for name in after if not torch.equal(after[name], rows[name])]
        if changed:
            return f"it changes {changed[0]} as it trains"
        parts = [Portion(0, 1, len(whole)), Portion(1, len(whole), len(whole))]
        found = torch.cat([_outputs(model, rows, x, part)[0] for part in parts], dim=1)
    except Exception as error:  # whatever it does with one example
        return f"one alone raises {said(error)}"
    alike = torch.allclose(found, expected, rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
    return None if alike else "what it gives for an example depends on the others of a minibatch"


@torch.no_grad()
def _outputs(model: OwnModel, rows: Tensors, x: Tensor, portion: Portion) -> tuple[Tensor, Tensors]:
    """The outputs of a portion of ``x`` in training, and the buffers afterwards."""
    given = Pass(
        weights={spec.name: rows[spec.name] for spec in model.parameters},
        buffers={spec.name: rows[spec.name].clone() for spec in model.buffers},
        columns=Columns([TrainConfig()], [0], [0], x.device, x.dtype),
        training=True,
        portion=portion,
    )
    return model.forward(given, portion.of(x, 1)), given.buffers
