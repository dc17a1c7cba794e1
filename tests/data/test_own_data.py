"""Examples from a function of the user's own."""

from __future__ import annotations

import numpy as np
import own_data
import pytest

from workers.data import DataConfig, DataError, load


@pytest.mark.parametrize("name", ["lists", "arrays", "split", "named", "dataset", "datasets"])
def test_what_a_function_gives_is_what_is_trained_on(name: str) -> None:
    found = load(DataConfig(source=f"own_data:{name}"), seed=0)
    x, y = own_data.arrays()
    is_split = "split" in name or name == "datasets"
    assert len(found.x_train) == (60 if is_split else 72)
    both = np.concatenate([found.x_train, found.x_validation])
    assert sorted(both.tolist()) == sorted(x.astype(np.float32).tolist())
    assert found.class_names == ("0", "1", "2")
    assert sorted(np.concatenate([found.y_train, found.y_validation])) == sorted(y)


def test_a_path_is_the_functions_argument() -> None:
    one, other = (
        load(DataConfig(source="own_data:arrays", path=path), seed=0) for path in (None, "there")
    )
    assert one.fingerprint() != other.fingerprint()


def test_numbers_are_targets_of_a_regression() -> None:
    found = load(DataConfig(source="own_data:arrays", task="regression"), seed=0)
    assert found.is_regression


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("own_data:three", r"must return \(x, y\) or .*, not a tuple"),
        ("own_data:number", "not a int"),
        ("own_data:fails", "raises RuntimeError: no such bucket$"),
        ("own_data:exits", "raises SystemExit: bye$"),
        ("own_data:onehot", r"one label a row, .* in own_data:onehot it has shape \[90, 3\]"),
        ("own_data:gone", "that Python can import, but own_data:gone raises AttributeError"),
        ("no_such_module:x", "there is no module no_such_module in the working folder"),
        ("own_data:NOTHING", "must name a class or function, but own_data:NOTHING is a int"),
    ],
)
def test_a_function_that_cannot_be_used_is_told_in_a_sentence(source: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as refused:
        load(DataConfig(source=source), seed=0)
    assert refused.value.key == "source"
    assert len(str(refused.value).splitlines()) == 1
