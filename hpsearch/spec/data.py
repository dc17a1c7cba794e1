"""The data of a search, loaded and held against its spec before anything is stored or trained.

Called by the CLI's check and run; ``hpsearch.spec.load`` itself reads no data.
"""

from __future__ import annotations

from collections.abc import Iterator

from hpsearch.spec.combinations import extremes, refused_values
from hpsearch.spec.devices import check_in_memory
from hpsearch.spec.problem import Problem, Problems, SpecError, shown
from hpsearch.spec.search import Search
from hpsearch.spec.unread import may_read
from workers.config import TrainConfig
from workers.data import DataConfig, DataError, Dataset, load

PLACES = {"folds": "data.validation.folds"}  # of fields that a spec has elsewhere than under data


def load_data(search: Search, other_path: str = "") -> Dataset | None:
    """The examples that ``search`` trains on, split by its seed; None: its trainable has its own.

    Raises SpecError, with the key of ``data:`` at fault, for files that are missing, truncated or
    not what they should be, for splits that leave too few rows, and as :func:`check_data` does.
    ``other_path`` is by which option another ``data.path`` can be named, if there is one.
    """
    if search.trainable is not None:
        return None
    try:
        dataset = load(DataConfig(**search.data.model_dump()), seed=search.seed)
    except DataError as error:
        key = PLACES.get(error.key, f"data.{error.key}")
        can_be_named = error.key == "path" and other_path
        other = f"; {other_path} names another one" if can_be_named else ""
        problem = Problem(file=search.name, key=key, rule=f"{error}{other}")
        raise SpecError([problem]) from error
    check_data(search, dataset)
    return dataset


def check_data(search: Search, dataset: Dataset) -> None:
    """Raises SpecError for what the data make impossible, each with its key.

    A minibatch cannot have more examples than a trial has training rows, nor fewer than devices
    that part it, which take no streamed examples; and no value may be left with which every
    trial breaks a rule of ``workers.config.combination``: a kernel larger than all images, groups
    that divide no layer.
    """
    problems = Problems(file=search.name)
    num_rows, num_parts = dataset.num_train, search.resources.num_minibatch_parts
    for key, batch_size in _batch_sizes(search):
        if batch_size > num_rows:
            rule = f"must be at most {num_rows}, the number of training rows"
            problems.add(key, rule, shown(batch_size))
        if batch_size < num_parts:
            rule = f"must be at least {num_parts}, an example for each device that has a part of it"
            problems.add(key, rule, shown(batch_size))
    if dataset.num_validation < num_parts:
        rule = f"must leave at least {num_parts} examples, one for each device that has a part"
        problems.add("data.validation", rule, shown(dataset.num_validation))
    check_in_memory(dataset.is_streamed, num_parts, problems)
    for key, rule in refused_values(search, dataset.shape()):
        problems.add(key, rule)
    problems.raise_if_any()


def _batch_sizes(search: Search) -> Iterator[tuple[str, int]]:
    """(key path, batch size) of each choice and end of a range; none that no trial reads."""
    if not may_read(search, "batch_size"):
        return
    if "batch_size" not in search.space.parameters:
        yield "train.batch_size", search.train.get("batch_size", TrainConfig().batch_size)
    for name, path, value, _ in extremes(search.space):
        if name == "batch_size":
            yield path, value
