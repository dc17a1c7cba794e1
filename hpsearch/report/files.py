"""Files that are written whole or not at all, and looked at before the work is done.

Used for the page and for images.
"""

from __future__ import annotations

import os
from pathlib import Path

from hpsearch.errors import HpsearchError


def check_writable(file: Path) -> None:
    """Before the work is done. Raises HpsearchError for a path that can be no file here."""
    folder = file.absolute().parent
    if os.path.isdir(file):  # Path.is_dir raises for a name that is too long
        raise HpsearchError(
            f"--output must be the path of a file, but {str(file)!r} is a folder: name a file in it"
        )
    if not os.path.isdir(folder):
        raise HpsearchError(
            f"the folder of --output must exist, but {str(folder)!r} does not: create it, or give "
            "another path"
        )


def write(file: Path, content: bytes) -> None:
    """By another name first, which is renamed. Raises HpsearchError."""
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
