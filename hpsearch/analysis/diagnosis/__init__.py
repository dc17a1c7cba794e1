"""Diagnoses: what a practitioner would say on seeing a trial's curves, with evidence and advice.

``hpsearch.coordinator.verdict`` stores them at a search's end, the CLI prints them;
docs/diagnoses.md lists the rules. A finding depends on stored rows alone.
"""
