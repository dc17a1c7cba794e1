"""One module a schema revision, each with its committed fixture under tests/storage/fixtures.

Found by Alembic through ``hpsearch.storage.migrations``.
"""
