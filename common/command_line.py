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
from common.errors import ConfigError, UsageError
from common.run_directory import CONFIG

T = TypeVar("T")

NO_PRESET = "none"
_HELP = {"-h", "--help"}
MAX_SEED = 2**63 - 1  # what torch takes
_NO_PRESETS: Mapping[str, Any] = {}

Settings = Annotated[T, tyro.conf.arg(name="")]
"""Type of the field `config` of a verb's arguments: `Settings[PpoConfig]` is a PpoConfig whose fields are flags without a prefix."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Base of every verb's arguments."""

    json: bool = False
    """print one JSON object and nothing else"""


@dataclass(frozen=True, kw_only=True)
class RunArguments(Arguments):
    """Base of the arguments of every verb that fills a directory with a run."""

    out: Path
    """directory of the run"""
    resume: bool = False
    """go on with the run that is in that directory"""
    seed: int = 0
    """seed of all random numbers"""
    force: bool = False
    """delete the run that is in that directory and start anew"""


@dataclass(frozen=True)
class _Sources:
    """Where settings come from before single flags change them."""

    file: Path | None
    preset: str
    stored: Path | None  # config of the run that is gone on with


def parse(verb: str, kind: type[T], arguments: Sequence[str], presets: Mapping[str, Any] = _NO_PRESETS) -> T:
    """The arguments of `quadloop <verb>` as `kind`, a frozen dataclass; its docstrings are the help.

    If `kind` has a field `config: Settings[SomeConfig]`, that config is made from, later over earlier: its default, `--preset NAME`
    (`presets` names whole configs), `--config FILE` (YAML, see common.config), the flags. `--resume` takes the config of the run in
    `--out` for both. Raises UsageError on one line for a command line that does not fit, ConfigError for a file that does not;
    `--help` prints and raises SystemExit(0).
    """
    _refuse_repeated_lists(kind, arguments)
    if not any(field.name == "config" for field in dataclasses.fields(kind)):  # type: ignore[arg-type]
        return _checked(_parsed(verb, kind, arguments, kind.__doc__, _with_defaults(kind)))
    config = _base_config_or_help(kind, _sources(verb, kind, arguments, presets), presets, asks_help=bool(_HELP & set(arguments)))
    fields = [*_source_fields(presets), ("own", Annotated[kind, tyro.conf.arg(name="")])]
    whole = dataclasses.make_dataclass("Arguments", fields, kw_only=True)
    own = _with_defaults(kind, config=config)
    parsed: Any = _parsed(verb, whole, arguments, kind.__doc__, _with_defaults(whole, own=own))
    final: T = parsed.own
    return _checked(final)


def _refuse_repeated_lists(kind: type[Any], arguments: Sequence[str]) -> None:
    """UsageError for a flag that takes any number of values and is given twice: the earlier ones would be lost without a word. Of others
    the later one is meant to win."""
    lists = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind) if str(field.type).endswith(", ...]")}
    flags = [argument.partition("=")[0].replace("_", "-") for argument in arguments]
    if twice := next((flag for flag in flags if flag in lists and flags.count(flag) > 1), None):
        raise UsageError(f"{twice} is given twice; give it once (several values stand behind one another)")


def _source_fields(presets: Mapping[str, Any]) -> list[Any]:
    """Fields of `--config` and, if there are presets, of `--preset`."""
    file = Annotated[Path | None, tyro.conf.arg(name="config", metavar="FILE", help="YAML file of what differs from the defaults")]
    preset = Annotated[Literal[(NO_PRESET, *presets)], tyro.conf.arg(help="settings to start from")]  # type: ignore[valid-type]
    return [("file", file, None), *([("preset", preset, NO_PRESET)] if presets else [])]


def _sources(verb: str, kind: type[Any], arguments: Sequence[str], presets: Mapping[str, Any]) -> _Sources:
    """What the command line says about sources. Nothing else of it is read: a flag may fit only what the sources give."""
    run = [("out", Path | None, None), ("resume", bool, False)] if issubclass(kind, RunArguments) else []
    sources = dataclasses.make_dataclass("Sources", [*_source_fields(presets), *run])
    known = [argument for argument in arguments if argument not in _HELP]
    found: Any = _parsed(verb, sources, known, None, sources(), others_too=True)
    stored = found.out / CONFIG if run and found.resume and found.out is not None else None
    return _Sources(found.file, getattr(found, "preset", NO_PRESET), stored)


def _base_config_or_help(kind: type[Any], sources: _Sources, presets: Mapping[str, Any], asks_help: bool) -> Any:
    """What the flags change; where only help is wanted, the defaults instead of a file that cannot be used."""
    try:
        return _base_config(kind, sources, presets)
    except ConfigError:
        if not asks_help:
            raise
        return _with_defaults(kind).config


def _base_config(kind: type[Any], sources: _Sources, presets: Mapping[str, Any]) -> Any:
    """What the flags change: see `parse`."""
    config = _with_defaults(kind).config if sources.preset == NO_PRESET else presets[sources.preset]
    if sources.file is not None:
        return load_config(config, sources.file)
    if sources.stored is not None and sources.stored.exists() and sources.preset == NO_PRESET:
        try:
            return load_config(config, sources.stored)
        except ConfigError as error:
            raise ConfigError(f"{error}; that run is of another version or was changed: choose another --out, or --force") from None
    return config


def _with_defaults(kind: type[T], **values: Any) -> T:
    """A `kind` of its defaults and `values`; what has neither is left for the command line to give."""
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            values.setdefault(field.name, tyro.MISSING)
    return kind(**values)


def _parsed(verb: str, kind: type[T], arguments: Sequence[str], description: str | None, default: T, others_too: bool = False) -> T:
    """Read `arguments` as `kind`. UsageError for what does not fit; with `others_too` arguments that `kind` does not know are ignored."""
    complaint = io.StringIO()
    program = f"quadloop {verb}"
    try:
        with contextlib.redirect_stderr(complaint):
            if others_too:
                return tyro.cli(kind, prog=program, args=arguments, default=default, return_unknown_args=True)[0]
            return tyro.cli(kind, prog=program, description=description, args=arguments, default=default)
    except ConfigError as error:  # the defaults fit, so a flag does not
        raise UsageError(_with_flags(str(error), default, arguments)) from None
    except SystemExit as end:
        if end.code in (0, None):
            raise
    raise UsageError(f"{_one_line(complaint.getvalue())}; see {program} --help")


def _with_flags(message: str, default: Any, arguments: Sequence[str]) -> str:
    """A config's message, such as "steps is 0", with the field's name replaced by the flag that sets it.

    A config does not know where it lies in another: the flag is one that was given or, if none fits, one of the verb's own settings.
    """
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    own = getattr(default, "own", default)
    for settings in filter(dataclasses.is_dataclass, (own, getattr(own, "config", None))):
        flags += [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(settings)]
    for flag in flags:
        name = flag.removeprefix("--").rpartition(".")[2].replace("-", "_")
        message = re.sub(rf"(?<![\w.-]){re.escape(name)}(?= is )", flag, message, count=1)
    return message


def _checked(arguments: T) -> T:
    """`arguments`, refused if one of their numbers is NaN or infinite (Python's float takes "nan" for a number) or a seed is none."""
    if isinstance(arguments, RunArguments) and arguments.resume and arguments.force:
        raise UsageError("--resume goes on with a run and --force deletes it; give one of them")
    for name, value in flat(arguments).items():
        field = re.sub(r"[.]\d+$", "", name.removeprefix("config."))  # of a number in a list, the list
        flag = f"--{field.replace('_', '-')}"
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{flag} must be a finite number, not {value}")
        if name.rpartition(".")[2] == "seed" and not 0 <= value <= MAX_SEED:
            raise UsageError(f"{flag} must be from 0 to {MAX_SEED}, not {value}")
    return arguments


def _one_line(box: str) -> str:
    """What tyro says in a box of several paragraphs: the first one, and the first flag that it suggests.

    Where the terminal does not speak UTF-8, the box is a title over rules of hyphens.
    """
    lines = box.splitlines()
    inside = [line for line in lines if line.startswith("│")] or lines[2:]
    paragraphs = re.split(r" ?[─-]{3,} ?", " ".join(line.strip(" │") for line in inside))
    hint = next((re.search(r"--[\w.-]+", text) for text in paragraphs[1:] if re.match("Perhaps|Arguments similar", text)), None)
    message = re.sub(r" +", " ", paragraphs[0]).strip(" .").replace("argument 'own.", "argument '")  # the prefix is ours: see `parse`
    return f"{message}; did you mean {hint.group()}?" if hint else message
