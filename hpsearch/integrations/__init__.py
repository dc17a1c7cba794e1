"""Doors to Optuna and Ray Tune: our refining there, their results here, our searches as studies.

Imported by users of those and by the CLI; nothing in hpsearch imports this room otherwise.
"""
