"""Configs from YAML: what fits is taken exactly, what does not is one line that names it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import MAX_FILE_BYTES, config_hash, first_difference, load_config, to_yaml, with_overrides
from common.errors import ConfigError


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Learner:
    clip_ratio: float = 0.1
    epochs: int = 10
    max_kl: float | None = None

    def __post_init__(self) -> None:
        if self.clip_ratio <= 0:
            raise ValueError("clip_ratio must be above zero")


@dataclass(frozen=True)
class Experiment:
    name: str = "walk"
    steps: int = 1000
    fast: bool = True
    hidden: tuple[int, ...] = (512, 256)
    vx: tuple[float, float] = (-0.5, 1.5)
    mode: Literal["flat", "mattress"] = "flat"
    colour: Colour = Colour.RED
    start: Path | None = None
    weights: dict[str, float] = field(default_factory=dict)
    ppo: Learner = field(default_factory=lambda: Learner(clip_ratio=0.2))
    critic: Learner | None = None


def load(tmp_path: Path, text: str | bytes) -> Experiment:
    path = tmp_path / "e.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(Experiment(), path)


def test_only_differences_are_named(tmp_path: Path) -> None:
    loaded = load(tmp_path, "steps: 5\nppo:\n  epochs: 3\n")
    assert loaded == replace(Experiment(), steps=5, ppo=Learner(clip_ratio=0.2, epochs=3))


def test_every_type(tmp_path: Path) -> None:
    text = """
        {name: x, fast: false, hidden: [8], vx: [0, 1], mode: mattress, colour: BLUE, start: a/b.onnx, weights: {a: 1},
         ppo: {max_kl: 1e-4}, critic: {epochs: 2}}"""
    assert load(tmp_path, text) == Experiment(
        name="x", fast=False, hidden=(8,), vx=(0.0, 1.0), mode="mattress", colour=Colour.BLUE, start=Path("a/b.onnx"),
        weights={"a": 1.0}, ppo=Learner(0.2, 10, 0.0001), critic=Learner(0.1, 2, None),
    )  # fmt: skip


def test_a_whole_number_becomes_a_float(tmp_path: Path) -> None:
    assert type(load(tmp_path, "vx: [0, 1]").vx[0]) is float


def test_null_takes_a_nested_config_away(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("critic: null")
    assert load_config(Experiment(critic=Learner()), path).critic is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Experiment()


REFUSED = {
    "stepz: 5": "unknown key 'stepz'; did you mean 'steps'?",
    "ppo: {clip_ration: 0.1}": "unknown key 'ppo.clip_ration'; did you mean 'ppo.clip_ratio'?",
    "ppo: {qqqq: 0.1}": "unknown key 'ppo.qqqq'; known are clip_ratio, epochs, max_kl",
    "3: 4": "unknown key '3'; known are name,",
    "steps: many": "steps must be a whole number, not 'many'",
    "steps: 1.5": "steps must be a whole number, not 1.5",
    "steps: true": "steps must be a whole number, not True",
    "steps: null": "steps must be a whole number, not None",
    "fast: 1": "fast must be true or false, not 1",
    "name: 3": "name must be text, not 3",
    "hidden: 3": "hidden must be a list of any length, each a whole number, not 3",
    "hidden: [3, x]": "hidden must be a list of any length, each a whole number, not [3, 'x']",
    "vx: [1]": "vx must be a list of 2 values, not [1]",
    "vx: [.nan, 1]": "vx must be a list of 2 values, not [nan, 1]",
    "mode: moon": "mode must be one of flat, mattress, not 'moon'",
    "colour: GREEN": "colour must be one of RED, BLUE, not 'GREEN'",
    "start: 3": "start must be a path or null, not 3",
    "weights: [1]": "weights must be a mapping, each value a finite number, not [1]",
    "weights: {a: b}": "weights must be a mapping, each value a finite number, not {'a': 'b'}",
    "ppo: {max_kl: .inf}": "ppo.max_kl must be a finite number or null, not inf",
    "ppo: {max_kl: 1" + "0" * 400 + "}": "ppo.max_kl must be a finite number or null",
    "ppo: 3": "ppo must be a mapping of names to values, not 3",
    "ppo: null": "ppo must be a mapping of names to values, not None",
    "ppo: {clip_ratio: -1}": "ppo.clip_ratio must be above zero",
    "[1, 2]": "the file must be a mapping of names to values, not [1, 2]",
    "false": "the file must be a mapping of names to values, not False",
    "steps: 1\nsteps: 2": "not YAML, line 2: the key 'steps' is given twice",
    "steps: [1": "not YAML, line 1:",
    "steps: 1\n\tfast: 1": "not YAML, line 2:",
    "steps: !!python/object/apply:os.system [ls]": "not YAML, line 1: could not determine a constructor",
    "steps: &many 1\nppo: {epochs: *many}": "not YAML, line 2: the alias '*many'; write out what it stands for",
    "ppo:\n  <<: {epochs: 1}": "not YAML, line 2: the key '<<'; write out what it stands for",
    "ppo: {!!merge x: {epochs: 1}}": "not YAML, line 1: the key '<<'; write out what it stands for",
    "steps: " + "[" * 5000: "not YAML",
    "steps: " + "9" * 5000: "not YAML",
    "ppo: {max_kl: 1" + ":1" * 5000 + ".5}": "not YAML",  # to base 60, as YAML 1.1 has it
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[text[:40] for text in REFUSED])
def test_what_does_not_fit_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'e.yaml'}: {message}")
    assert "\n" not in line
    assert len(line) < 400


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        load(tmp_path, b"steps: \xff\xfe\x00")


def test_a_bomb_of_merge_keys_is_refused_before_it_is_built(tmp_path: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = [f"{new}: &{new} {{<<: [*{old}, *{old}]}}" for old, new in itertools.pairwise(letters)]
    with pytest.raises(ConfigError, match=r"line 2: the alias '\*a'"):
        load(tmp_path, "\n".join(["a: &a {x: 1}", *lines]))


def test_a_quoted_merge_key_is_a_key(tmp_path: Path) -> None:
    assert load(tmp_path, 'weights: {"<<": 1}').weights == {"<<": 1.0}


def test_a_file_too_large_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 65,536 bytes"):
        load(tmp_path, b"#" * (MAX_FILE_BYTES + 1))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory"):
        load_config(Experiment(), tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(Experiment(), tmp_path)


finite = st.floats(allow_nan=False, allow_infinity=False)
learners = st.builds(Learner, finite.filter(lambda ratio: ratio > 0), st.integers(), st.none() | finite)
experiments = st.builds(
    Experiment, st.text(), st.integers(), st.booleans(), st.lists(st.integers()).map(tuple), st.tuples(finite, finite),
    st.sampled_from(["flat", "mattress"]), st.sampled_from(Colour), st.none() | st.just(Path("a b/c.onnx")),
    st.dictionaries(st.text(), finite), learners, st.none() | learners,
)  # fmt: skip


@settings(deadline=None)
@given(experiments)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, config: Experiment) -> None:
    path = tmp_path_factory.mktemp("config") / "e.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    loaded = load_config(Experiment(), path)
    assert loaded == config
    assert config_hash(loaded) == config_hash(config)


def test_yaml_follows_the_order_of_the_fields() -> None:
    assert to_yaml(Learner(0.25, 3)) == "clip_ratio: 0.25\nepochs: 3\nmax_kl: null\n"


def test_hash_is_that_of_the_sorted_json() -> None:
    # sha256 of {"clip_ratio": 0.25, "epochs": 3, "max_kl": null}
    assert config_hash(Learner(0.25, 3)) == "33678ed42a3519f07b16e445443cb954073a5551bcdfd3615681a9b012f85412"
    assert config_hash(Learner(0.25, 4)) != config_hash(Learner(0.25, 3))
    assert config_hash({"b": 1, "a": {"d": 2, "c": 3}}) == config_hash({"a": {"c": 3, "d": 2}, "b": 1})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"steps": 7}, "steps is 1000, not 7"),
        ({"hidden": (512, 128)}, "hidden.1 is 256, not 128"),
        ({"hidden": (512,)}, "hidden.1 is 256, not None"),
        ({"ppo": Learner(0.3)}, "ppo.clip_ratio is 0.2, not 0.3"),
    ],
)
def test_first_difference(changes: dict[str, Any], said: str | None) -> None:
    assert first_difference(Experiment(), replace(Experiment(), **changes)) == said


@dataclass(frozen=True)
class Budget:
    steps: int = 100
    checkpoints: int = 10

    def __post_init__(self) -> None:
        if self.steps % self.checkpoints:
            raise ValueError(f"steps is {self.steps}; it must be a multiple of checkpoints, which is {self.checkpoints}")


@pytest.mark.parametrize("order", [1, -1])
def test_overrides_that_only_fit_together_may_come_in_either_order(order: int) -> None:
    overrides = dict([("steps", 14), ("checkpoints", 7)][::order])
    assert with_overrides(Budget(), overrides) == Budget(14, 7)
    with pytest.raises(ConfigError, match="steps is 14; it must be a multiple of checkpoints, which is 10"):
        with_overrides(Budget(), {"steps": 14})


def test_overrides_of_one_nested_config_are_all_taken() -> None:
    overrides = {"ppo.epochs": 3, "critic": {"epochs": 4}, "ppo.clip_ratio": 0.5, "critic.max_kl": 0.1, "weights.a": 1, "weights.b": 2}
    assert with_overrides(Experiment(), overrides) == replace(
        Experiment(), ppo=Learner(0.5, 3), critic=Learner(epochs=4, max_kl=0.1), weights={"a": 1.0, "b": 2.0}
    )


def test_the_later_of_two_overrides_of_one_thing_counts() -> None:
    assert with_overrides(Experiment(), {"critic.epochs": 3, "critic": None}).critic is None
    assert with_overrides(Experiment(), {"critic": None, "critic.epochs": 3}).critic == Learner(epochs=3)
