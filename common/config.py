"""Configs: frozen dataclasses beside the code they configure, and YAML files that hold only what differs from their defaults."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml

from common.errors import ConfigError
from common.files import sha256_of_bytes
from common.typed_values import WrongTypeError, as_type, describe, show

MAX_FILE_BYTES = 1 << 16
"""What is larger is not a config. So much takes a second or two to read, whatever it holds."""
_MERGE = "tag:yaml.org,2002:merge"  # of the key <<

T = TypeVar("T")


def load_config(default: T, path: Path) -> T:
    """The config `default` (a frozen dataclass) with the values of the YAML file `path` put over it.

    The file is a mapping of field names to values, nested as the config is. ConfigError, on one line with the file and the dotted
    name, for: a key that the config does not have (the nearest one is named) or that is given twice, a value of another type,
    a number that is not finite, a value that the config itself refuses, an alias or a merge key, a file that is unreadable, larger
    than MAX_FILE_BYTES or not YAML.
    """
    try:
        return merged(default, _read_yaml(path), "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def with_overrides(config: T, overrides: Mapping[str, Any]) -> T:
    """`config` with dotted names set to plain values, checked as those of a file are; ConfigError names the one that does not fit.

    All of them are put in at once: two that only fit together may come in either order.
    """
    together: dict[str, Any] = {}
    for name, value in overrides.items():
        nested = value
        for part in reversed(name.split(".")):
            nested = {part: nested}
        together = laid_over(together, nested)
    return merged(config, together, "")


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both mappings in one, the one above over the one below; where both have a mapping under a key, these in one."""
    nested = [key for key in below if isinstance(below[key], dict) and isinstance(above.get(key), dict)]
    return below | above | {key: laid_over(below[key], above[key]) for key in nested}


def to_yaml(config: Any) -> str:
    """Every value of `config` as YAML in the order of its fields; `load_config` reads it back to an equal config."""
    return str(yaml.safe_dump(_plain(config), sort_keys=False))


def config_hash(config: Any) -> str:
    """Hex sha256 of all names and values of `config`; the order of its fields does not matter."""
    return sha256_of_bytes(json.dumps(_plain(config), sort_keys=True).encode())


def first_difference(config: T, other: T) -> str | None:
    """The first field, dotted, in which two configs of one class differ, as "name is x, not y"; None if they are equal."""
    ours, theirs = flat(config), flat(other)
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            return f"{name} is {show(ours.get(name))}, not {show(theirs.get(name))}"
    return None


def flat(config: Any) -> dict[str, Any]:
    """Dotted names to the plain values of `config`; items of a list are named by their index."""
    return _flat(_plain(config))


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader without what no config needs.

    It takes the last of two equal keys without a word; here the second is refused. So are aliases and merge keys: by naming each other
    a few of them make a file of a few hundred bytes fill the memory.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"the alias '*{alias.anchor}'; write out what it stands for", alias.start_mark)
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == _MERGE:
                raise yaml.constructor.ConstructorError(None, None, "the key '<<'; write out what it stands for", key.start_mark)
        super().flatten_mapping(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {show(key.value)} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    """The content of a YAML file; an empty one is an empty mapping."""
    content = _read_capped(path)
    try:
        values = yaml.load(content, Loader=_PlainLoader)  # noqa: S506 (it is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"not YAML{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        raise ConfigError("not YAML: it holds what no text file should") from None
    return {} if values is None else values


def _read_capped(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"larger than {MAX_FILE_BYTES:,} bytes, so not a config")
    return content


def merged(config: T, values: Any, prefix: str) -> T:
    """`config` with the mapping `values` put over it; `prefix` is its dotted place with a dot at the end, or empty."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.') or 'the file'} must be a mapping of names to values, not {show(values)}")
    kinds = get_type_hints(type(config))
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise ConfigError(f"unknown key '{prefix}{_short(key)}'; {_nearest(key, names, prefix)}")
    changes = {key: _converted(kinds[key], getattr(config, key), value, f"{prefix}{key}") for key, value in values.items()}
    try:
        return dataclasses.replace(config, **changes)  # type: ignore[type-var]
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{prefix}{error}") from None


def _short(key: Any) -> str:
    return show(str(key))[1:-1]


def _nearest(key: Any, names: list[str], prefix: str) -> str:
    near = difflib.get_close_matches(str(key)[:100], names, n=1)
    return f"did you mean '{prefix}{near[0]}'?" if near else f"known are {', '.join(names)}"


def _converted(kind: Any, current: Any, value: Any, name: str) -> Any:
    """`value` as the field's type `kind`; a mapping for a field that holds a config is merged into its `current` value."""
    nested = current if dataclasses.is_dataclass(current) else _default_of_optional(kind)
    if nested is not None:
        return None if value is None and type(None) in get_args(kind) else merged(nested, value, f"{name}.")
    try:
        return as_type(kind, value)
    except WrongTypeError:
        raise ConfigError(f"{name} must be {describe(kind)}, not {show(value)}") from None


def _default_of_optional(kind: Any) -> Any:
    """The default config of a field `SomeConfig | None` that is None; None if there is no config in `kind`."""
    return next((part() for part in get_args(kind) if isinstance(part, type) and dataclasses.is_dataclass(part)), None)


def _plain(value: Any) -> Any:
    """`value` in terms that YAML and JSON know."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, Path) else value


def _flat(plain: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(plain, (dict, list)) or not plain:
        return {prefix: plain}
    items = plain.items() if isinstance(plain, dict) else enumerate(plain)
    return {name: leaf for key, item in items for name, leaf in _flat(item, f"{prefix}.{key}" if prefix else str(key)).items()}
