from __future__ import annotations

import datetime
import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from workers.data import DataConfig, DataError, load
from workers.data.table import read_csv, read_parquet

Refusal = Callable[..., DataError]
ROWS = "1,2,a\n3,4,b\n5,6,a\n7,8,b\n"


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., str]:
    def write(text: str | bytes, name: str = "table.csv") -> str:
        content = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., str]:
    def write(columns: dict[str, Any]) -> str:
        path = str(tmp_path / "table.parquet")
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return path

    return write


Write = Callable[..., str]


def test_the_last_column_is_the_target_by_default(csv: Write) -> None:
    examples = read_csv(DataConfig(source="csv", path=csv(f"p,q,y\n{ROWS}")))
    assert examples.x.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert examples.x.dtype == np.float32
    assert examples.y.tolist() == [0, 1, 0, 1]
    assert examples.class_names == ("a", "b")


def test_the_target_may_be_any_column(csv: Write) -> None:
    path = csv("y,p,q\nb,1,true\na,0.5,false\n")
    examples = read_csv(DataConfig(source="csv", path=path, target="y"))
    assert examples.x.tolist() == [[1, 1], [0.5, 0]]
    assert examples.y.tolist() == [1, 0]


def test_a_byte_order_mark_and_gz_are_read(csv: Write) -> None:
    path = csv(gzip.compress("\ufeffy,p\nb,1\na,2\n".encode()), "table.csv.gz")
    examples = read_csv(DataConfig(source="csv", path=path, target="y"))
    assert examples.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "class_names", "codes"),
    [
        ([10, 2, 10], ("2", "10"), [1, 0, 1]),
        (["b", "é", "B"], ("B", "b", "é"), [1, 2, 0]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([2.0, 1.0, 2.0], ("1.0", "2.0"), [1, 0, 1]),
        ([Decimal("1.50"), Decimal("0.10"), Decimal("1.50")], ("0.10", "1.50"), [1, 0, 1]),
        (
            [datetime.date(2024, 2, 1), datetime.date(2024, 1, 1), datetime.date(2024, 2, 1)],
            ("2024-01-01", "2024-02-01"),
            [1, 0, 1],
        ),
        (pyarrow.array(["z", "a", "z"]).dictionary_encode(), ("a", "z"), [1, 0, 1]),
        (pyarrow.array(["z", "a", "z"], pyarrow.large_string()), ("a", "z"), [1, 0, 1]),
    ],
)
def test_labels_of_any_type_are_encoded_in_sorted_order(
    parquet: Write, labels: Any, class_names: tuple[str, ...], codes: list[int]
) -> None:
    path = parquet({"p": [1.0, 2.0, 3.0], "y": labels})
    examples = read_parquet(DataConfig(source="parquet", path=path))
    assert examples.class_names == class_names
    assert examples.y.tolist() == codes
    assert examples.y.dtype == np.int64


def test_numeric_columns_of_every_kind_are_features(parquet: Write) -> None:
    columns = {
        "byte": pyarrow.array([1, 2], pyarrow.uint8()),
        "long": pyarrow.array([3, 4], pyarrow.int64()),
        "half": pyarrow.array(np.array([0.5, 1.5], np.float16)),
        "double": [0.25, 0.75],
        "flag": [True, False],
        "price": [Decimal("1.25"), Decimal("2.50")],
        "y": ["a", "b"],
    }
    examples = read_parquet(DataConfig(source="parquet", path=parquet(columns)))
    assert examples.x.tolist() == [[1, 3, 0.5, 0.25, 1, 1.25], [2, 4, 1.5, 0.75, 0, 2.5]]


def test_a_table_loads_into_a_dataset(csv: Write) -> None:
    text = "p,q,y\n" + "".join(f"{row},{row % 7},{'ab'[row % 2]}\n" for row in range(50))
    made = load(DataConfig(source="csv", path=csv(text), validation=10), 0)
    assert (made.x_train.shape, made.x_validation.shape) == ((40, 2), (10, 2))
    assert made.unit == 1
    assert made.num_classes == 2
    assert np.bincount(made.y_validation).tolist() == [5, 5]


@pytest.mark.parametrize("values", ["red\nblue", "2024-01-01\n2024-01-02"])
def test_columns_that_are_no_numbers_are_refused_by_name(
    csv: Write, refusal: Refusal, values: str
) -> None:
    one, other = values.split("\n")
    error = refusal(source="csv", path=csv(f"p,colour,y\n1,{one},a\n2,{other},b\n"))
    assert "'colour'" in str(error)
    assert "'p'" not in str(error)


def test_categorical_features_are_refused_by_name(parquet: Write, refusal: Refusal) -> None:
    colours = pyarrow.array(["red", "blue"]).dictionary_encode()
    error = refusal(source="parquet", path=parquet({"c": colours, "y": [0, 1]}))
    assert "'c' (dictionary" in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p,q,y\n1,,a\n2,,b\n3,4,a\n", "column 'q' of"),
        ("p,q,y\n1,,a\n2,,b\n", "column 'q' of"),
        ("p,q,y\n1,NaN,a\n2,NA,b\n3,4,b\n", "column 'q' of"),
        ("p,q,y\n1,1,a\n2,1,\n3,4,\n", "column 'y' of"),
        ("p,q,y\n1,1,0\n2,1,\n3,4,\n", "column 'y' of"),
    ],
)
def test_missing_values_are_refused_with_column_and_count(
    csv: Write, refusal: Refusal, text: str, words: str
) -> None:
    error = refusal(source="csv", path=csv(text))
    assert words in str(error)
    assert "has 2;" in str(error)


def test_nan_labels_are_refused(parquet: Write, refusal: Refusal) -> None:
    labels = np.array([0.0, 1.0, np.nan])
    error = refusal(source="parquet", path=parquet({"p": [1, 2, 3], "y": labels}))
    assert error.key == "target"
    assert "1 missing" in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_features_that_are_not_finite_in_float32_are_refused(
    parquet: Write, refusal: Refusal, value: float
) -> None:
    columns = {"p": [1.0, 2.0], "q": np.array([1.0, value]), "y": ["a", "b"]}
    error = refusal(source="parquet", path=parquet(columns))
    assert error.key == "path"
    assert "column 'q' has 1 values" in str(error)


def test_a_target_of_many_real_numbers_is_refused_and_one_of_50_is_not(
    parquet: Write, refusal: Refusal
) -> None:
    rows = np.arange(102)
    path = parquet({"p": rows, "y": (rows % 51) / 4})
    error = refusal(source="parquet", path=path)
    assert error.key == "target"
    assert "51 distinct real numbers; write task: regression" in str(error)
    path = parquet({"p": rows, "y": (rows % 50) / 4})
    assert len(read_parquet(DataConfig(source="parquet", path=path)).class_names) == 50


def test_labels_that_cannot_be_sorted_are_refused(parquet: Write, refusal: Refusal) -> None:
    path = parquet({"p": [1, 2], "y": [{"a": 1}, {"a": 2}]})
    assert refusal(source="parquet", path=path).key == "target"


def test_an_unknown_target_names_the_closest_column(csv: Write, refusal: Refusal) -> None:
    error = refusal(source="csv", path=csv(f"p,q,label\n{ROWS}"), target="lable")
    assert error.key == "target"
    assert "'lable'" in str(error)
    assert "closest name is 'label'" in str(error)


def test_a_target_like_no_column_is_told_with_those_that_there_are(
    csv: Write, refusal: Refusal
) -> None:
    error = refusal(source="csv", path=csv(f"p,q,label\n{ROWS}"), target="wholly other")
    assert "the columns are 'p', 'q', 'label'" in str(error)


def test_a_target_that_two_columns_bear_is_refused(csv: Write, refusal: Refusal) -> None:
    error = refusal(source="csv", path=csv(f"y,q,y\n{ROWS}"), target="y")
    assert "2 are called 'y'" in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "CSV file"),
        ("p,q,y\n", "needs rows"),
        ("p;q;y\n1;2;a\n", "separate columns by commas"),
        ("p,q,y\n1,2,a\n1,2\n", "CSV file"),
        (b"PAR1\0\0\0", "CSV file"),
        ("p,q,y\n1,2,a\n".encode("utf-16"), "bytes that no text has"),
        ("p,größe,y\n1,2,a\n".encode("latin-1"), "CSV file"),
        ("p,q,y\n1,2,weiß\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    csv: Write, refusal: Refusal, text: str | bytes, words: str
) -> None:
    error = refusal(source="csv", path=csv(text))
    assert error.key == "path"
    assert words in str(error)


def test_a_parquet_file_that_is_none_or_is_cut_is_refused(
    csv: Write, parquet: Write, refusal: Refusal
) -> None:
    path = csv(f"p,q,y\n{ROWS}", "table.parquet")
    assert "must be a Parquet file" in str(refusal(source="parquet", path=path))
    path = parquet({"p": list(range(1000)), "y": [0, 1] * 500})
    Path(path).write_bytes(Path(path).read_bytes()[:-100])
    assert "must be a Parquet file" in str(refusal(source="parquet", path=path))


def test_labels_that_are_no_utf_8_are_refused(parquet: Write, refusal: Refusal) -> None:
    octets = pyarrow.array([b"\xff", b"a"]).buffers()
    labels = pyarrow.Array.from_buffers(pyarrow.string(), 2, octets)
    error = refusal(source="parquet", path=parquet({"p": [1, 2], "y": labels}))
    assert "must be a Parquet file" in str(error)


def test_a_parquet_file_under_csv_is_refused(parquet: Write, refusal: Refusal) -> None:
    path = parquet({"p": [1, 2], "y": [0, 1]})
    assert "must be a CSV file" in str(refusal(source="csv", path=path))


def test_a_path_that_is_missing_or_a_folder_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "is a folder" in str(refusal(source="csv", path=str(tmp_path)))
    assert "does not exist" in str(refusal(source="parquet", path=str(tmp_path / "a")))


def test_a_single_class_is_refused(csv: Write, refusal: Refusal) -> None:
    error = refusal(source="csv", path=csv("p,y\n1,a\n2,a\n3,a\n"))
    assert error.key == "path"
    assert "at least 2 classes, but got 1 in 3 rows" in str(error)


def test_validation_and_limit_are_held_to_the_rows_there_are(csv: Write, refusal: Refusal) -> None:
    path = csv(f"p,q,y\n{ROWS}")
    error = refusal(source="csv", path=path, validation=4)
    assert error.key == "validation"
    assert "at most 2 of 4 rows, but got 4" in str(error)
    error = refusal(source="csv", path=path, limit=5)
    assert error.key == "limit"
    assert "number of rows, 4, but got 5" in str(error)


def test_a_limit_that_leaves_one_class_is_refused(csv: Write, refusal: Refusal) -> None:
    text = "p,y\n" + "1,a\n" * 99 + "2,b\n"
    error = refusal(source="csv", path=csv(text), limit=10)
    assert error.key == "limit"
    assert "got 1 in 10 rows" in str(error)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([1.5, -2.0, 1e9], [1.5, -2, 1e9]),
        (np.array([3, -1, 7], np.int8), [3, -1, 7]),
        ([True, False, True], [1, 0, 1]),
        ([Decimal("1.25"), Decimal("0.10"), Decimal("-3")], [1.25, 0.1, -3]),
    ],
)
def test_targets_of_a_regression_are_numbers_of_any_type(
    parquet: Write, targets: Any, expected: list[float]
) -> None:
    path = parquet({"p": [1.0, 2.0, 3.0], "y": targets})
    examples = read_parquet(DataConfig(source="parquet", path=path, task="regression"))
    assert examples.y.tolist() == np.float32(expected).tolist()
    assert examples.y.dtype == np.float32
    assert examples.class_names == ()


def test_a_regression_from_a_csv_file_keeps_rows_and_targets_together(csv: Write) -> None:
    text = "price,p\n" + "".join(f"{3 * row + 0.5},{row}\n" for row in range(60))
    config = DataConfig(
        source="csv", path=csv(text), target="price", task="regression", validation=12
    )
    made = load(config, 0)
    for x, y in ((made.x_train, made.y_train), (made.x_validation, made.y_validation)):
        assert (y == 3 * x[:, 0] + 0.5).all()
    assert (made.num_train, len(made.y_validation), made.num_outputs) == (48, 12, 1)
    assert made.target_mean[0] == pytest.approx(made.y_train.mean(dtype=np.float64))
    assert made.target_scale[0] == pytest.approx(made.y_train.std(dtype=np.float64))


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["1.5", "2", "3"], "column 'y' is text"),
        ([datetime.date(2024, 1, day) for day in (1, 2, 3)], "column 'y' is date"),
        (pyarrow.array(["a", "b", "a"]).dictionary_encode(), "column 'y' is text"),
        (np.array([0.0, 1.0, np.nan]), "column 'y' has 1 that are not"),
        (np.array([0.0, np.inf, -np.inf]), "column 'y' has 2 that are not"),
        (np.array([0.0, 1e39, 1.0]), "column 'y' has 1 that are not"),
        ([2.5, 2.5, 2.5], "training rows have 2.5"),
    ],
)
def test_targets_that_no_regression_can_learn_are_refused(
    parquet: Write, refusal: Refusal, targets: Any, words: str
) -> None:
    path = parquet({"p": [1.0, 2.0, 3.0], "y": targets})
    error = refusal(source="parquet", path=path, task="regression", validation=1)
    assert words in str(error)
    assert error.key == ("task" if "training rows" in words else "target")


def test_a_regression_with_missing_targets_is_refused(csv: Write, refusal: Refusal) -> None:
    error = refusal(source="csv", path=csv("p,y\n1,2.5\n2,\n3,4\n"), task="regression")
    assert "column 'y' of" in str(error)
    assert "has 1;" in str(error)


def test_a_regression_of_one_row_is_refused(csv: Write, refusal: Refusal) -> None:
    error = refusal(source="csv", path=csv("p,y\n1,2.5\n"), task="regression")
    assert "at least 2 numbers, but got 1 in 1 rows" in str(error)


def test_folds_take_the_place_of_validation(csv: Write) -> None:
    text = "p,y\n" + "".join(f"{row},{'ab'[row % 2]}\n" for row in range(52))
    made = load(DataConfig(source="csv", path=csv(text), folds=5, validation=999), 0)
    assert made.fold_rows is not None
    assert made.fold_rows.shape == (5, 10)
    assert [np.bincount(made.y_train[rows]).tolist() for rows in made.fold_rows] == [[5, 5]] * 5
    assert (made.num_train, len(made.x_train), len(made.x_validation)) == (42, 52, 0)
