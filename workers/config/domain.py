"""The values that one training hyperparameter may take, and the sentence for one that it may not.

Used by this room to describe the fields of ``TrainConfig``, and by ``hpsearch.spec`` to check a
user's spec.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# What a user names in Python: a class or function of a module that can be imported.
IS_OWN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """The legal values of a field; ``low`` and ``high`` are inclusive unless ``*_open``.

    With ``own`` a MODULE:NAME is as good as one of ``names``; ``anything`` is whatever YAML has for
    one value, or a list of it.
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    integer: bool = False
    boolean: bool = False
    names: tuple[str, ...] = ()
    optional: bool = False
    sequence: bool = False
    text: bool = False
    own: bool = False
    anything: bool = False

    def rule(self) -> str:
        """The domain in words, e.g. ``a number in [0, 1)``."""
        if self.anything:
            return "a number, text, true or false, or a list of these"
        if self.names:
            own = ", or MODULE:NAME" if self.own else ""
            return "one of " + ", ".join(self.names) + own
        if self.boolean or self.text:
            return "true or false" if self.boolean else "text"
        noun = "an integer" if self.integer else "a number"
        bounds = self._bounds()
        text = f"{noun} {bounds}" if bounds else noun
        return f"{text}, or a list of them" if self.sequence else text

    def admits(self, value: object) -> bool:
        """Whether ``value`` is legal; NaN never is."""
        if value is None:
            return self.optional
        if (self.sequence or self.anything) and isinstance(value, tuple | list):
            return all(self._admits_one(item) for item in value)
        return self._admits_one(value)

    def _admits_one(self, value: object) -> bool:
        if self.anything and isinstance(value, str | bool):
            return True
        if self.names:
            is_own = self.own and IS_OWN.fullmatch(str(value)) is not None
            return isinstance(value, str) and (value in self.names or is_own)
        if self.boolean:
            return isinstance(value, bool)
        if self.text:
            return isinstance(value, str) and bool(value.strip())
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.integer and not float(value).is_integer():
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def _bounds(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return ""
        if math.isinf(self.high):
            return f"{'>' if self.low_open else '>='} {self.low:g}"
        if math.isinf(self.low):
            return f"{'<' if self.high_open else '<='} {self.high:g}"
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"in {left}{self.low:g}, {self.high:g}{right}"
