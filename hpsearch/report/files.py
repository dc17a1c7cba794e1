"""Files that are written whole or not at all, and looked at before the work is done.

Used for the page and for images.
"""

from __future__ import annotations

import os
from pathlib import Path

from hpsearch.errors import HpsearchError

SQLITE = b"SQLite format 3\0"  # what each of its files begins with


def check_writable(file: Path) -> None:
    """Before the work is done. Raises HpsearchError for a path that can be no file here."""
    folder = Path(os.path.realpath(file)).parent
    if os.path.isdir(file):  # Path.is_dir raises for a name that is too long
        raise HpsearchError(
            f"--output must be the path of a file, but {str(file)!r} is a folder: name a file in it"
        )
    if not os.path.isdir(folder):
        raise HpsearchError(
            f"the folder of --output must exist, but {str(folder)!r} does not: create it, or give "
            "another path"
        )
    if os.path.exists(file) and not _may_be_replaced(file):
        raise HpsearchError(
            f"--output must not be a device or a database, but {str(file)!r} is one: give another "
            "path"
        )


def _may_be_replaced(file: Path) -> bool:
    """What is neither a file nor may be one of ours is left as it is."""
    if not os.path.isfile(file):
        return False
    with open(file, "rb") as there:
        return there.read(len(SQLITE)) != SQLITE


def write(file: Path, content: bytes) -> None:
    """By another name first, which is renamed; a link stays. Raises HpsearchError."""
    file = Path(os.path.realpath(file))
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        try:
            unfinished.write_bytes(content)
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise HpsearchError(
            f"--output must be a file that can be written, but {str(file)!r} cannot "
            f"({error.strerror}): give another path"
        ) from error
