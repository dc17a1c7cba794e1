"""What stored searches say: pandas frames of them.

Used by ``hpsearch.connect``, notebooks and the CLI, which import it only when they need it.
"""
