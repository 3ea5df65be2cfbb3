"""A verb's arguments, from the command line, a config file and a preset."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from common.config import flat, load_config
from common.errors import UsageError
from common.run_directory import CONFIG

T = TypeVar("T")

_NO_PRESETS: Mapping[str, Any] = {}

Settings = Annotated[T, tyro.conf.arg(name="")]
"""Type of the field `config` of a verb's arguments: `Settings[PpoConfig]` is a PpoConfig whose fields are flags without a prefix."""


@dataclass(frozen=True, kw_only=True)
class RunArguments:
    """Base of the arguments of every verb that fills a directory with a run."""

    out: Path
    """directory of the run"""
    resume: bool = False
    """go on with the run that is in that directory"""
    seed: int = 0
    """draws everything that is random"""
    force: bool = False
    """delete the run that is in that directory and start anew"""
    json: bool = False
    """print one JSON object and nothing else"""


@dataclass(frozen=True)
class _Sources:
    """Where settings come from before single flags change them."""

    file: Path | None
    preset: str | None


def parse(verb: str, kind: type[T], arguments: Sequence[str], presets: Mapping[str, Any] = _NO_PRESETS) -> T:
    """The arguments of `quadloop <verb>` as `kind`, a frozen dataclass; its docstrings are the help.

    If `kind` has a field `config: Settings[SomeConfig]`, that config is made from, later over earlier: its default, `--preset NAME`
    (`presets` names whole configs), `--config FILE` (YAML, see common.config), the flags. `--resume` takes the config of the run in
    `--out` for both. Raises UsageError on one line for a command line that does not fit, ConfigError for a file that does not;
    `--help` prints and raises SystemExit(0).
    """
    if not any(field.name == "config" for field in dataclasses.fields(kind)):  # type: ignore[arg-type]
        return _checked(_parsed(verb, kind, arguments, kind.__doc__, _with_defaults(kind)))
    sources, first = _parsed_with_sources(verb, _with_defaults(kind), arguments, presets)
    config = _base_config(kind, sources, first, presets)
    _, final = _parsed_with_sources(verb, _with_defaults(kind, config=config), arguments, presets)
    return _checked(final)


def _base_config(kind: type[Any], sources: _Sources, parsed: Any, presets: Mapping[str, Any]) -> Any:
    """What the flags change: see `parse`."""
    config = presets[sources.preset] if sources.preset else _with_defaults(kind).config
    if sources.file is not None:
        return load_config(config, sources.file)
    stored = parsed.out / CONFIG if isinstance(parsed, RunArguments) and parsed.resume else None
    if stored is not None and stored.exists() and not sources.preset:
        return load_config(config, stored)
    return config


def _with_defaults(kind: type[T], **values: Any) -> T:
    """A `kind` of its defaults and `values`; what has neither is left for the command line to give."""
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            values.setdefault(field.name, tyro.MISSING)
    return kind(**values)


def _parsed_with_sources(verb: str, default: T, arguments: Sequence[str], presets: Mapping[str, Any]) -> tuple[_Sources, T]:
    """`--preset`, `--config` and the verb's own arguments, whose defaults are `default`, from one command line."""
    kind = type(default)
    file = Annotated[Path | None, tyro.conf.arg(name="config", metavar="FILE", help="YAML file of what differs from the defaults")]
    preset = Annotated[Literal[("none", *presets)], tyro.conf.arg(help="settings to start from")]  # type: ignore[valid-type]
    fields: list[Any] = [("file", file), *([("preset", preset)] if presets else []), ("own", Annotated[kind, tyro.conf.arg(name="")])]
    whole = dataclasses.make_dataclass("Arguments", fields)
    unset = {"file": None, "own": default} | ({"preset": "none"} if presets else {})
    parsed: Any = _parsed(verb, whole, arguments, kind.__doc__, whole(**unset))
    chosen = getattr(parsed, "preset", "none")
    return _Sources(parsed.file, None if chosen == "none" else chosen), parsed.own


def _parsed(verb: str, kind: type[T], arguments: Sequence[str], description: str | None, default: T) -> T:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, prog=f"quadloop {verb}", description=description, args=arguments, default=default)
    except SystemExit as end:
        if end.code in (0, None):
            raise
    raise UsageError(f"{_one_line(complaint.getvalue())}; see quadloop {verb} --help")


def _checked(arguments: T) -> T:
    """`arguments`, refused if one of their numbers is NaN or infinite (Python's float takes "nan" for a number) or a seed is negative."""
    for name, value in flat(arguments).items():
        flag = f"--{name.removeprefix('config.').replace('_', '-')}"
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{flag} must be a finite number, not {value}")
        if name.rpartition(".")[2] == "seed" and value < 0:
            raise UsageError(f"{flag} must be 0 or more, not {value}")
    return arguments


def _one_line(box: str) -> str:
    """What tyro says in a box of several paragraphs: the first one, and the first flag that it suggests.

    Where the terminal does not speak UTF-8, the box is a title over rules of hyphens.
    """
    lines = box.splitlines()
    inside = [line for line in lines if line.startswith("│")] or lines[2:]
    paragraphs = re.split(r" ?[─-]{3,} ?", " ".join(line.strip(" │") for line in inside))
    hint = next((re.search(r"--[\w.-]+", text) for text in paragraphs[1:] if re.match("Perhaps|Arguments similar", text)), None)
    message = re.sub(r" +", " ", paragraphs[0]).strip(" .")
    return f"{message}; did you mean {hint.group()}?" if hint else message
