"""What a spec names in Python, and the package of code that brings it to a cluster.

Called where workers of a cluster are asked for and by ``hpsearch submit``, which pack the code
where it is written, and by the service, which imports none unless its operator allows that.
"""

from __future__ import annotations

import io
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from hpsearch.errors import HpsearchError
from hpsearch.spec.search import Search

MOST_BYTES = 20 * 2**20  # of a package, which the database and the cluster hold
MOST_UNZIPPED_BYTES = 10 * MOST_BYTES  # more is not read: it is no code
NUM_NAMED = 3  # files that are told where there are too many
# What is no code: what others made of it, results, and environments that the cluster has itself.
LEFT_OUT = {"__pycache__", "node_modules", "venv", "env"}
LEFT_OUT_SUFFIXES = {".pyc", ".db", ".db-wal", ".db-shm", ".safetensors", ".sqlite"}
LEFT_OUT_ENDING = "-checkpoints"  # of the folder beside a database
FILE_TIME = (1980, 1, 1, 0, 0, 0)  # of each file, so that the same code is the same package


def packed(search: Search) -> bytes | None:
    """The folders that what a spec names is in, as a ZIP archive; None where nothing is to travel.

    Modules that are installed are not packed, as the cluster has its own, nor are those that are
    not found here, as it may. Of a git repository it is what git does not ignore. Raises
    HpsearchError if that is too much, or cannot be read.
    """
    modules = {name.partition(":")[0].partition(".")[0] for name in search.python_names}
    folders = {folder: None for module in sorted(modules) if (folder := _folder_of(module))}
    return _zipped(search.name, list(folders)) if folders else None


def _folder_of(module: str) -> Path | None:
    """The folder from which ``module`` is imported, if that is of the user's own."""
    found = PathFinder.find_spec(module, [*sys.path, os.getcwd()])
    if found is None:
        return None
    if found.origin is not None:
        file = Path(found.origin).absolute()
        folder = file.parents[1 if found.submodule_search_locations else 0]
    elif found.submodule_search_locations:  # a folder without __init__.py
        folder = Path(next(iter(found.submodule_search_locations))).absolute().parent
    else:
        return None
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    installed += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")]
    return None if any(folder.is_relative_to(path) for path in installed) else folder


def _zipped(name: str, folders: list[Path]) -> bytes:
    """All files of ``folders``; of two with the same name the first."""
    files: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(_files(folder)):
            files.setdefault(file.as_posix(), folder / file)
    try:
        sizes = {path: path.stat().st_size for path in files.values()}
        if sum(sizes.values()) > MOST_UNZIPPED_BYTES:
            raise _too_large(name, sizes)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
            for inside, path in files.items():
                package.writestr(_entry(inside), path.read_bytes())
    except UnicodeEncodeError as error:
        raise HpsearchError(
            f"the files beside the code that search {name} names must have names in UTF-8, but "
            f"{error.object!r} is none: rename it, or move it elsewhere"
        ) from error
    except OSError as error:
        raise HpsearchError(
            f"the code that search {name} names must be readable, but {error.filename} is not "
            f"({error.strerror}): mend it, or move it elsewhere"
        ) from error
    if archive.tell() > MOST_BYTES:
        raise _too_large(name, sizes)
    return archive.getvalue()


def _entry(inside: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(inside, date_time=FILE_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _too_large(name: str, sizes: dict[Path, int]) -> HpsearchError:
    largest = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:NUM_NAMED]
    told = ", ".join(f"{path} ({sizes[path] / 2**20:.1f} MB)" for path in largest)
    return HpsearchError(
        f"the code that search {name} names travels with all files of its folder, which must be at "
        f"most {MOST_BYTES / 2**20:.0f} MB zipped, but they are more (the largest: {told}): move "
        "what is no code elsewhere, or have git ignore it"
    )


def _files(folder: Path) -> Iterator[Path]:
    """Those that are code, or may belong to it, relative to ``folder``."""
    known = _known_to_git(folder)
    for file in _walked(folder) if known is None else known:
        if not _is_left_out(file) and (folder / file).is_file():
            yield file


def _known_to_git(folder: Path) -> list[Path] | None:
    """What git tracks or would, None where there is no repository.

    Raises HpsearchError where git does not say it of one: what it ignores may be secret.
    """
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others"]
    try:
        found = subprocess.run([*command, "--exclude-standard"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:  # there is no git, or no repository
        if not any((parent / ".git" / "HEAD").exists() for parent in (folder, *folder.parents)):
            return None
        raise HpsearchError(
            f"git must say which files of {folder} travel to the cluster, but does not "
            f"({_last_line(error)}): mend that, or copy the code to a folder without .git"
        ) from error
    return [Path(os.fsdecode(name)) for name in found.stdout.split(b"\0") if name]


def _last_line(error: OSError | subprocess.CalledProcessError) -> str:
    said = getattr(error, "stderr", None) or str(error).encode()
    return os.fsdecode(said).strip().splitlines()[-1]


def _walked(folder: Path) -> Iterator[Path]:
    for here, inner, names in os.walk(folder):
        at = Path(here).relative_to(folder)
        inner[:] = [
            name
            for name in inner
            if not _is_left_out(at / name) and not Path(here, name, "pyvenv.cfg").exists()
        ]
        yield from (at / name for name in names)


def _is_left_out(path: Path) -> bool:
    """Hidden files may be secrets."""
    return path.suffix in LEFT_OUT_SUFFIXES or any(
        part.startswith(".") or part in LEFT_OUT or part.endswith(LEFT_OUT_ENDING)
        for part in path.parts
    )
