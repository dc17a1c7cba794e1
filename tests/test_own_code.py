"""The package of code that travels with a search."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from hpsearch import own_code
from hpsearch.errors import HpsearchError
from hpsearch.own_code import packed
from hpsearch.spec import load
from hpsearch.spec.search import Search

NET = "from torch import nn\n\nclass Net(nn.Module):\n    pass\n"
FILES = {
    "travelling/__init__.py": "",
    "travelling/nets.py": NET,
    "travelling/words.json": "{}",
    "data_of_mine.py": "def load():\n    return [[1.0]], [0]\n",
}
OTHERS = {
    ".env": "SECRET=1",
    ".git/config": "",
    "travelling/__pycache__/nets.cpython-311.pyc": "",
    "search.db": "",
    "search-checkpoints/1.safetensors": "",
    "my-env/pyvenv.cfg": "",
    "my-env/lib/site.py": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _write(tmp_path, {**FILES, **OTHERS})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _search(source: str = "data_of_mine:load") -> Search:
    return load(
        {
            "name": "own",
            "data": {"source": source},
            "space": {"learning_rate": {"log_uniform": [1e-3, 1e-1]}},
            "stages": [{"name": "only", "trials": 2, "epochs": 1}],
        }
    )


def _inside(code: bytes | None) -> set[str]:
    assert code is not None
    return set(zipfile.ZipFile(io.BytesIO(code)).namelist())


def test_the_folder_travels_without_what_is_no_code(folder: Path) -> None:
    assert _inside(packed(_search())) == set(FILES)
    assert _inside(packed(_search("travelling.nets:Net"))) == set(FILES)


def test_the_same_code_is_the_same_package(folder: Path) -> None:
    once = packed(_search())
    (folder / "data_of_mine.py").touch()
    assert packed(_search()) == once
    (folder / "data_of_mine.py").write_text("# changed")
    assert packed(_search()) != once


def test_what_git_ignores_stays(folder: Path) -> None:
    (folder / ".git/config").unlink()
    (folder / ".git").rmdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    _write(folder, {".gitignore": "pictures/\nmy-env/\n", "pictures/1.png": "", "more.py": ""})
    assert _inside(packed(_search())) == {*FILES, "more.py"}


def test_where_git_fails_nothing_is_sent_that_it_may_ignore(folder: Path) -> None:
    test_what_git_ignores_stays(folder)
    (folder / ".git/HEAD").write_text("no reference")
    with pytest.raises(HpsearchError, match=r"git must say which files of .* does not \(fatal"):
        packed(_search())


def test_a_file_whose_name_is_no_text_is_told_of(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("")
    with pytest.raises(HpsearchError, match="must have names in UTF-8"):
        packed(_search())


def test_a_module_of_another_folder_on_the_path_is_found(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    _write(elsewhere, {"far_away.py": "", "beside.py": ""})
    monkeypatch.syspath_prepend(elsewhere)
    assert _inside(packed(_search("far_away:load"))) == {"far_away.py", "beside.py"}


@pytest.mark.parametrize("source", ["digits", "numpy:load", "os.path:join", "no_such_module:x"])
def test_what_is_installed_or_unknown_does_not_travel(source: str, folder: Path) -> None:
    assert packed(_search(source)) is None


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_UNZIPPED_BYTES"])
def test_too_much_is_refused_in_a_sentence(
    limit: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "numbers.bin").write_bytes(bytes(range(256)) * 8)
    monkeypatch.setattr(own_code, limit, 700)
    with pytest.raises(HpsearchError) as refused:
        packed(_search())
    told = str(refused.value)
    assert told.startswith("the code that search own names travels with all files of its folder")
    assert f"(the largest: {folder}/numbers.bin (0.0 MB), " in told
    assert len(told.splitlines()) == 1


def test_all_that_a_spec_names_is_known() -> None:
    spec = _search().model_copy(update={"train": {"model": "nets:Net"}})
    assert spec.python_names == ("nets:Net", "data_of_mine:load")
    assert load("digits").python_names == ()
