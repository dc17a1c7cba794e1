"""What a user asks for: YAML becomes a ``Search`` of frozen values, or is refused in full.

Used by all rooms above; start at ``load``.
"""

from hpsearch.spec.data import check_data, load_data
from hpsearch.spec.loading import load
from hpsearch.spec.problem import Problem, SpecError

__all__ = ["Problem", "SpecError", "check_data", "load", "load_data"]
