"""How groups are run: on Ray actors, in processes of this machine, in this one, or simulated.

Made by ``hpsearch.running`` for a search, driven by the coordinator; the protocol is in ``base``.
"""
