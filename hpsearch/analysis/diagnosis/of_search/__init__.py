"""Diagnoses of a whole search: what a practitioner says on seeing all of its trials together.

One file a family of rules; ``rules`` has them in order. docs/diagnoses.md lists them.
"""
