"""Doors to Optuna and Ray Tune: our refining in their programs, their results in our tables.

Imported by users of those and by the CLI; nothing in hpsearch imports this room otherwise.
"""
