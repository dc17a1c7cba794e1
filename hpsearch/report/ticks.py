"""Ticks of axes: numbers in one manner, whole ones where all are whole, and names cut short.

Called by ``interactive`` for the page and, of names, by ``images`` for papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

LONGEST = 18  # letters of a name at an axis
MOST_POWERS = 6  # that are written at an axis, so that they stand upright on a phone too
LEAST = 3  # ticks that an axis needs
MANTISSAS = ((1, 2, 5), tuple(range(1, 10)))
PLAIN = (1e-3, 1e4)  # numbers from the one to the other are written out
FEW = 10  # plotly steps by whole numbers by itself where there are more


def shortened(words: str, longest: int = LONGEST) -> str:
    """A name of at most ``longest`` letters, its beginning and its end: these tell names apart."""
    if len(words) <= longest:
        return words
    end = longest // 3
    return f"{words[: longest - 1 - end]}…{words[-end:]}"


def named(ticks: Sequence[tuple[float, str]], most: int) -> tuple[list[str], bool]:
    """The names of an x axis, each cut short; and whether they are to be turned.

    They are where all together have more than ``most`` letters: then they have no room beside one
    another. What a backend escapes in them takes no room.
    """
    texts = [shortened(words) for _, words in ticks]
    return texts, sum(map(len, texts)) > most


def whole_step(low: float, high: float) -> int | None:
    """The step of an axis of whole numbers; None where any that is chosen is whole anyway."""
    return 1 if high - low <= FEW else None


def in_html(mantissa: float, power: int) -> str:
    """As in 2·10<sup>-6</sup>."""
    exponent = f"10<sup>{power}</sup>"
    return exponent if mantissa == 1 else f"{mantissa:.4g}·{exponent}"


def in_tex(mantissa: float, power: int) -> str:
    """The same for matplotlib."""
    exponent = f"10^{{{power}}}"
    return f"${exponent}$" if mantissa == 1 else rf"${mantissa:.4g}\cdot{exponent}$"


def log_ticks(
    low: float,
    high: float,
    as_power: Callable[[float, int], str] = in_html,
    *,
    is_int: bool = False,
) -> list[tuple[float, str]]:
    """(place, words) within 0 < low <= high: powers of ten, or round numbers where these are few.

    All are written out, or all ``as_power``. Where values are whole, so are these.
    """
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high) + 1e-9)
    powers = range(math.ceil(math.log10(low) - 1e-9), last + 1)
    step = max(1, -(-len(powers) // MOST_POWERS))
    found = _within(low, high, ((1, power) for power in powers[::step]))
    for mantissas in MANTISSAS:
        if len(found) < LEAST:
            every = ((each, power) for power in range(first, last + 1) for each in mantissas)
            found = _within(low, high, every)
    if len(found) < LEAST:
        found = _within(low, high, _evenly(low, high))
    if is_int:
        found = [each for each in found if _value(*each).is_integer()]
    values = [_value(*each) for each in found]
    is_plain = all(PLAIN[0] <= value <= PLAIN[1] for value in values)
    words = (
        [f"{value:.6g}" for value in values] if is_plain else [as_power(*each) for each in found]
    )
    return list(zip(values, words, strict=True))


Scaled = tuple[float, int]  # a mantissa and a power of ten


def _value(mantissa: float, power: int) -> float:
    return float(f"{mantissa:.9g}e{power}")  # 2e-3, and not 0.0020000000000000001


def _within(low: float, high: float, all_of_them: Iterable[Scaled]) -> list[Scaled]:
    ends = low * (1 - 1e-9), high * (1 + 1e-9)
    return [each for each in all_of_them if ends[0] <= _value(*each) <= ends[1]]


def _evenly(low: float, high: float) -> list[Scaled]:
    """Round numbers at even steps, for a range of less than a power of ten."""
    power = math.floor(math.log10(low))
    start, stop = low / 10.0**power, high / 10.0**power
    rough = (stop - start) / LEAST
    if rough <= 1e-5:
        return [(start, power)]
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * times for times in (5, 2, 1) if size * times <= rough * (1 + 1e-9))
    first, last = math.ceil(start / step - 1e-9), math.floor(stop / step + 1e-9)
    return [(place * step, power) for place in range(first, last + 1)]
