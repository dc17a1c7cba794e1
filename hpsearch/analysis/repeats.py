"""Repeats: what the confirm stage says of each trial that it trained again with other seeds.

Read by the CLI and by the report.
"""

from __future__ import annotations

import pandas as pd


def over_seeds(trials: pd.DataFrame, *, is_max: bool) -> pd.DataFrame:
    """One row a trial that was repeated, the best mean first: number, mean, std, min, max, size.

    ``trials`` are those of ``Frames.trials``; ``std`` is NaN of a single repeat.
    """
    by_id = trials.set_index("trial")
    is_repeat = (by_id["replicate"] > 0) & (by_id["state"] == "complete")
    repeats = by_id[is_repeat & by_id["value"].notna()]
    found = repeats.groupby("parent")["value"].agg(["mean", "std", "min", "max", "size"])
    found = found.sort_values("mean", ascending=not is_max, kind="stable")
    numbers = by_id["number"].reindex(found.index)
    return found.assign(number=numbers).reset_index(drop=True)


def telling(best: pd.DataFrame) -> pd.DataFrame:
    """Those of ``Frames.best`` without columns of what was not done: repeats, folds, a near one."""
    said = {
        "mean": best["n"].gt(1).any(),
        "n": best["n"].gt(1).any(),
        "confirmed": best["confirmed"].any(),
        "within_noise": best["within_noise"].sum() > 1,
    }
    return best.drop(columns=[name for name, does in said.items() if not does])
