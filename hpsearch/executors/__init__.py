"""How groups are run: on Ray actors, in this process, or simulated.

Made by ``hpsearch.api`` for a search and driven by the coordinator; the protocol is in ``base``.
"""
