"""The schema's history for Alembic: ``env`` and one module a revision under ``versions``.

Run by ``hpsearch.storage.revisions``; no alembic.ini is needed.
"""
