"""Reason: why a range, a choice or a branch was changed on the way into a stage.

Made by ``hpsearch.sampling``, stored with the stage, shown to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The actions by which a range or a choice became another, or a branch ended.
CHANGES = ("narrowed", "extended", "stability_edge", "dropped")
# What else is told of as one: an extension that came to the parameter's own limit.
TOLD = (*CHANGES, "limit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why a range, a choice or a branch was changed (or kept) on the way into a stage."""

    branch: str
    parameter: str | None
    action: str  # one of TOLD, or kept, allocated, repeated
    old: Any
    new: Any
    text: str
    evidence: Mapping[str, Any]
