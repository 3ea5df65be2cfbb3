"""Values as YAML gives them, checked against and turned into the types of a config's fields."""

from __future__ import annotations

import math
import reprlib
import types
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

_MAX_SHOWN = 200  # characters
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_WORDS = {float: "a finite number", int: "a whole number", str: "text", bool: "true or false", Path: "a path", type(None): "null"}


class WrongTypeError(Exception):
    """The value does not fit the type; whoever knows the value's name says so with `describe` and `show`."""


def as_type(kind: Any, value: Any) -> Any:
    """`value` as the type `kind`: float, int, str, bool, None, Path, an Enum (by name), Literal, tuple, dict or a union of these.

    Nothing is converted that a person would not expect: a whole number is a float, but true is not 1 and "1" is not 1.
    Raises WrongTypeError if the value does not fit, TypeError if configs cannot have fields of this type.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _as_first_that_fits(parts, value)
    if origin is Literal:
        return _only_if(any(value == part and type(value) is type(part) for part in parts), value)
    if origin is tuple:
        return _as_tuple(parts, value)
    if origin is dict:
        _only_if(isinstance(value, dict), value)
        return {as_type(parts[0], key): as_type(parts[1], item) for key, item in value.items()}
    return _as_simple_type(kind, value)


def describe(kind: Any) -> str:
    """The type in words, to follow "must be"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part) for part in parts)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple:
        return f"a list of any length, each {describe(parts[0])}" if parts[-1] is Ellipsis else f"a list of {len(parts)} values"
    if origin is dict:
        return f"a mapping, each value {describe(parts[1])}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(kind.__members__)}"
    return _WORDS.get(kind, "a mapping")


def show(value: Any) -> str:
    """A short repr: what a hostile file holds must not fill the screen."""
    try:
        return _SHORT.repr(value)[:_MAX_SHOWN]
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a huge number"


def _as_simple_type(kind: Any, value: Any) -> Any:
    if kind is float:
        return _as_float(value)
    if kind is Path:
        return Path(_only_if(isinstance(value, str), value))
    if kind in (int, str, bool, type(None)):
        return _only_if(type(value) is kind, value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[_only_if(isinstance(value, str) and value in kind.__members__, value)]
    raise TypeError(f"configs have no fields of type {kind}")


def _only_if(fits: bool, value: Any) -> Any:
    if not fits:
        raise WrongTypeError
    return value


def _as_float(value: Any) -> float:
    """Text that is a number is one: YAML 1.1 reads `1e-4`, which has no dot, as text."""
    _only_if(type(value) in (int, float, str), value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise WrongTypeError from None
    return float(_only_if(math.isfinite(number), number))


def _as_tuple(parts: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    _only_if(isinstance(value, list), value)
    if parts[-1] is Ellipsis:
        return tuple(as_type(parts[0], item) for item in value)
    _only_if(len(value) == len(parts), value)
    return tuple(as_type(part, item) for part, item in zip(parts, value, strict=True))


def _as_first_that_fits(parts: tuple[Any, ...], value: Any) -> Any:
    for part in parts:
        try:
            return as_type(part, value)
        except WrongTypeError:
            continue
    raise WrongTypeError
