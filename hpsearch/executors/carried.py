"""``carried``: a package of code as Ray takes it, for the processes of a job to run in.

Entered by ``cluster`` when a search connects, and by the service when it submits one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def carried(code: bytes | None) -> Iterator[dict[str, str]]:
    """The part of a runtime environment that unpacks ``code`` into the folder of each process.

    Ray uploads it within, and keeps it under a hash of its content for as long as the cluster runs.
    """
    if code is None:
        yield {}
        return
    with TemporaryDirectory(prefix="hpsearch-code-") as folder:
        package = Path(folder) / "code.zip"
        package.write_bytes(code)
        yield {"working_dir": str(package)}
