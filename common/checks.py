"""What a config's values must be: a line for each rule in its `__post_init__`, and one line for whoever breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from common.errors import ConfigError
from common.typed_values import show


class Rule(NamedTuple):
    """What a number must be, in words and as a test that NaN does not pass."""

    words: str
    holds: Callable[[Any], bool]


POSITIVE = Rule("above 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0)
SHARE = Rule("from 0 to 1", lambda value: 0 <= value <= 1)
OPEN_SHARE = Rule("above 0 and below 1", lambda value: 0 < value < 1)


def at_least(least: int) -> Rule:
    """`least` or more."""
    return Rule(f"at least {least}", lambda value: value >= least)


def at_most(most: float) -> Rule:
    """`most` or less."""
    return Rule(f"at most {most:g}", lambda value: value <= most)


def between(least: float, most: float, unit: str = "") -> Rule:
    """From `least` to `most`, in `unit`."""
    return Rule(f"from {_shown(least)} to {_shown(most)} {unit}".rstrip(), lambda value: least <= value <= most)


def _shown(number: float) -> str:
    """All digits of a whole number, and no ".0"."""
    return f"{int(number):,}" if number == int(number) else f"{number:,.12g}"


def require(config: object, rule: Rule, *names: str) -> None:
    """ConfigError unless every field in `names` keeps the rule: its number, each number of its tuple, which has one; None always does."""
    for name in names:
        value = getattr(config, name)
        if value == ():
            raise ConfigError(f"{name} has no value; it must be {rule.words}")
        if not all(number is None or rule.holds(number) for number in (value if isinstance(value, tuple) else (value,))):
            raise ConfigError(f"{name} is {show(value)}; it must be {rule.words}")


def require_rising(config: object, *names: str) -> None:
    """ConfigError unless the numbers in the fields `names`, taken one after the other, never fall; a tuple counts as its numbers."""
    values = {name: getattr(config, name) for name in names}
    numbers = [(name, number) for name, value in values.items() for number in (value if isinstance(value, tuple) else (value,))]
    for (low, lower), (high, higher) in itertools.pairwise(numbers):
        if not lower <= higher:
            given = ", ".join(f"{name} is {show(value)}" for name, value in values.items())
            order = "each must be at least the one before it" if low != high else "give the smaller number first"
            raise ConfigError(f"{given}; {order}")
