"""Keys that came after searches were stored: a spec without them is stored as it was."""

from __future__ import annotations

import pytest

from hpsearch.spec import load
from hpsearch.spec.search import Data, Search
from hpsearch.storage import codec
from hpsearch.storage.searches import spec_hash

SPEC = {
    "name": "own",
    "data": {"source": "own_data:arrays"},
    "space": {"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    "stages": [{"name": "only", "trials": 2, "epochs": 1}],
}


def test_at_their_defaults_they_are_not_stored() -> None:
    stored = codec.decode(codec.encode(load(SPEC)))
    assert not set(Data.LATER) & set(stored["data"])
    first = {"workers", "gpus_per_worker", "width", "checkpoint_every", "keep_checkpoints"}
    assert set(stored["resources"]) == first
    assert Search.from_json(stored) == load(SPEC)


@pytest.mark.parametrize("key", [{"stream": True}, {"loader_workers": 2}])
def test_otherwise_they_are_and_tell_specs_apart(key: dict[str, object]) -> None:
    asked = load({**SPEC, "data": {**SPEC["data"], **key}})
    assert Search.from_json(codec.decode(codec.encode(asked))) == asked
    assert spec_hash(asked) != spec_hash(load(SPEC))


def test_so_do_several_devices() -> None:
    asked = load({**SPEC, "resources": {"devices_per_trial": 2}})
    assert Search.from_json(codec.decode(codec.encode(asked))) == asked
    assert spec_hash(asked) != spec_hash(load(SPEC))
    assert spec_hash(load({**SPEC, "resources": {"devices_per_trial": 1}})) == spec_hash(load(SPEC))


def test_auto_is_the_default() -> None:
    given = {**SPEC["data"], "stream": "auto", "loader_workers": "auto"}
    assert spec_hash(load({**SPEC, "data": given})) == spec_hash(load(SPEC))
