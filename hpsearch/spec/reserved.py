"""The names that a parameter may not have, because a column of ours has them.

Read by ``hpsearch.spec`` to refuse such a parameter and by ``hpsearch.analysis`` to lay out frames.
"""

from __future__ import annotations

RESERVED = (
    "trial",
    "number",
    "search",
    "stage",
    "branch",
    "state",
    "value",
    "spread",
    "mean",
    "n",
    "confirmed",
    "within_noise",
    "best_epoch",
    "epochs",
    "seed",
    "seconds",
    "failure_kind",
    "failure_message",
    "parent",
    "epoch",
    "replicate",
    "group",
    "generation",
    "created_at",
    "finished_at",
    "worker",
    "started_at",
)
