"""A verb's result: a table for people or one JSON object for machines, on standard output."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

_RESULTS: ContextVar[TextIO | None] = ContextVar("results", default=None)


@contextlib.contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send what anyone prints to standard error, except what `emit` prints: some libraries talk on standard output."""
    token = _RESULTS.set(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _RESULTS.reset(token)


def emit(result: Mapping[str, Any], as_json: bool) -> None:
    """Print `result`, nested mappings of what `json_value` takes: as JSON on one line, or a table of dotted names."""
    stream = _RESULTS.get() or sys.stdout
    plain = json_value(result)
    if as_json:
        print(json.dumps(plain, allow_nan=False), file=stream, flush=True)
        return
    rows = list(_rows(plain))
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:  # as long as they are: half a path or hash is none
        print(f"{name:{width}}  {value}", file=stream)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table for people; in a terminal that is too narrow for it, each row as lines: half a name or number is none."""
    table = Table(*header)
    for row in (rows := list(rows)):
        table.add_row(*map(Text, row))  # a session's name is no markup
    width = Console(width=10_000).measure(table).maximum
    if sys.stdout.isatty() and width > Console().width:
        for row in rows:
            print(*(f"{name}: {value}" for name, value in zip(header, row, strict=True)), sep="\n", end="\n\n")
    else:
        Console(width=width).print(table)


def json_value(value: Any) -> Any:
    """Nested mappings, sequences and records of plain values, paths and numpy values as JSON has them.

    JSON knows no NaN and no infinity: both become None.
    """
    if is_dataclass(value):
        return json_value(vars(value))
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return json_value(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
