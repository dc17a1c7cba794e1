"""Search spaces that come with hpsearch: YAML files, found by their bare names.

Read by ``hpsearch.spec.document``; there is no code here.
"""
