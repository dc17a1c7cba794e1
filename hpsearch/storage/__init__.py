"""The database: tables, migrations, leases, and the Repository that reads and writes them.

Used by the coordinator, the CLI and ``hpsearch.analysis``; imports no pandas and no torch.
"""
