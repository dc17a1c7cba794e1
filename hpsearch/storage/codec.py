"""JSON for columns: tuples come back as tuples, NaN and infinity survive, the order of keys too.

Given to the engine by ``hpsearch.storage.database``, so that every JSON column is written and read
through it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import orjson
from pydantic import BaseModel

FLOAT = "$float"  # {"$float": "nan"}: PostgreSQL refuses the bare NaN that Python would write
_ENCODER = json.JSONEncoder(allow_nan=False)  # json.dumps would make one each time


def encode(value: Any) -> str:
    """``value`` as JSON in ASCII, which any server encoding can hold.

    Takes mappings with string keys, lists and tuples, dataclasses, pydantic models, numbers (those
    of numpy too), strings, booleans and None; raises TypeError for anything else.
    """
    if type(value) is list and set(map(type, value)) == {float}:  # a number a layer, each epoch
        text = str(value)  # which is JSON, but for nan and inf
        if "n" not in text:
            return text
    return _ENCODER.encode(_plain(value))


def decode(text: str | bytes) -> Any:
    """The inverse of :func:`encode`, but for lists, which come back as tuples."""
    value = json.loads(text)
    return _restored(value) if isinstance(value, list | dict) else value


def decode_all(texts: Iterable[str | None]) -> tuple[Any, ...]:
    """:func:`decode` for many, in half the time: the parser is entered once. NULL is None."""
    there = ("null" if text is None else text for text in texts)
    values: tuple[Any, ...] = decode(f"[{','.join(there)}]")
    return values


def decode_lists(texts: Iterable[str]) -> list[Any]:
    """:func:`decode_all`, but lists stay lists: in half the time again."""
    values: list[Any] = json.loads(f"[{','.join(texts)}]", object_hook=_float_or_mapping)
    return values


def decode_numbers(lines: str) -> list[Any]:
    """Lists of numbers, or null, one a line: by a parser that is several times as fast."""
    if FLOAT in lines:
        return decode_lists(lines.split("\n"))
    values: list[Any] = orjson.loads(f"[{lines.replace(chr(10), ',')}]")
    return values


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else {FLOAT: str(number)}
    return _plain(_fields(value))


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of a JSON column must be a string, but got {key!r}")
    return key


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        fields, later = type(value).model_fields, getattr(value, "LATER", ())
        values = {name: getattr(value, name) for name in fields}
        for name in later:
            if values[name] == fields[name].default:
                del values[name]
        return values
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"a JSON column cannot hold a {type(value).__name__}: {value!r}")


def _float_or_mapping(value: dict[str, Any]) -> Any:
    return float(value[FLOAT]) if FLOAT in value and len(value) == 1 else value


def _restored(value: list[Any] | dict[str, Any]) -> Any:
    # Scalars are told apart without a call: they are nearly all there is.
    if isinstance(value, list):
        return tuple([_restored(v) if isinstance(v, list | dict) else v for v in value])
    if FLOAT in value and len(value) == 1:
        return _float_or_mapping(value)
    for key, item in value.items():
        if isinstance(item, list | dict):
            value[key] = _restored(item)
    return value
