"""The data of a search, loaded and held against its spec before anything is stored or trained.

Called by the CLI's check and run; ``hpsearch.spec.load`` itself reads no data.
"""

from __future__ import annotations

from collections.abc import Iterator

from hpsearch.spec.problem import Problem, Problems, SpecError, shown
from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice
from workers.config import TrainConfig
from workers.data import DataConfig, DataError, Dataset, load


def load_data(search: Search) -> Dataset:
    """The examples that ``search`` trains on, split by its seed.

    Raises SpecError, with the key of ``data:`` at fault, for files that are missing, truncated or
    not what they should be, for splits that leave too few rows, and as :func:`check_data` does.
    """
    try:
        dataset = load(DataConfig(**search.data.model_dump()), seed=search.seed)
    except DataError as error:
        problem = Problem(file=search.name, key=f"data.{error.key}", rule=str(error))
        raise SpecError([problem]) from error
    check_data(search, dataset)
    return dataset


def check_data(search: Search, dataset: Dataset) -> None:
    """Raises SpecError if a batch could have more members than there are training rows."""
    problems = Problems(file=search.name)
    num_rows = len(dataset.x_train)
    for key, batch_size in _batch_sizes(search):
        if batch_size > num_rows:
            rule = f"must be at most {num_rows}, the number of training rows"
            problems.add(key, rule, shown(batch_size))
    problems.raise_if_any()


def _batch_sizes(search: Search) -> Iterator[tuple[str, int]]:
    """(key path, batch size) of each choice, or of the largest size."""
    parameter = search.space.parameters.get("batch_size")
    if isinstance(parameter, Choice):
        for i, value in enumerate(parameter.choices):
            yield f"space.batch_size.choice[{i}]", value
    elif parameter is not None:
        yield f"space.batch_size.{parameter.kind}[1]", int(parameter.high)
    else:
        yield "train.batch_size", search.train.get("batch_size", TrainConfig().batch_size)
