"""What tests of the coordinator share: an empty database of either kind."""

from __future__ import annotations

import pytest

from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository


@pytest.fixture
def repository(database: Database) -> Repository:
    database.check_revision()
    return Repository(database)
