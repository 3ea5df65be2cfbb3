"""A verb's arguments: default, preset, file, flags, each over the one before."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from common.checks import POSITIVE, require, require_rising
from common.command_line import RunArguments, Settings, parse
from common.errors import ConfigError, UsageError
from common.run_directory import RunDirectory


@dataclass(frozen=True)
class Learner:
    clip_ratio: float = 0.1
    """eps"""
    hidden: tuple[int, ...] = (8, 8)
    """layers"""
    fast: bool = True
    """hurry"""
    weight: float = 1.0
    """of any size"""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "clip_ratio")


@dataclass(frozen=True)
class Config:
    steps: int = 100
    """how many"""
    robots: int = 0
    """of all chance"""
    ppo: Learner = field(default_factory=Learner)
    """the learner"""
    slowest: float = 0.5
    """m/s"""
    fastest: float = 1.0
    """m/s"""

    def __post_init__(self) -> None:
        require_rising(self, "slowest", "fastest")


@dataclass(frozen=True, kw_only=True)
class Arguments(RunArguments):
    """Walk about."""

    config: Settings[Config] = field(default_factory=Config)
    """what is run"""


@dataclass(frozen=True)
class Plain:
    """No config at all."""

    speed: float
    """m/s"""
    json: bool = False
    """for machines"""


@dataclass(frozen=True, kw_only=True)
class Directed:
    """Walk somewhere."""

    way: Annotated[Literal["left", "right"], tyro.conf.Positional]
    """where to"""
    config: Settings[Config] = field(default_factory=Config)
    """how"""


PRESETS = {"smoke": Config(steps=1), "paper": Config(steps=7, ppo=Learner(0.25))}


def walk(line: str) -> Arguments:
    return parse("walk", Arguments, line.split(), PRESETS)


def test_defaults() -> None:
    assert walk("--out runs/x") == Arguments(out=Path("runs/x"), config=Config())


def test_dotted_flags() -> None:
    parsed = walk("--out x --steps 3 --robots 9 --ppo.clip-ratio 0.5 --ppo.hidden 4 2 1 --ppo.no-fast --force --json")
    assert parsed == Arguments(out=Path("x"), force=True, json=True, config=Config(3, 9, Learner(0.5, (4, 2, 1), False)))


def test_preset_then_file_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("robots: 5\nppo: {fast: false, hidden: [3]}\n")
    parsed = walk(f"--ppo.hidden 4 --config {file} --out x --preset paper")
    assert parsed.config == Config(7, 5, Learner(0.25, (4,), False))


def test_the_config_of_a_finished_run_is_a_config_file(tmp_path: Path) -> None:
    RunDirectory(tmp_path, Config(steps=4, ppo=Learner(0.25))).close()
    assert walk(f"--out x --config {tmp_path / 'config.yaml'}").config == Config(steps=4, ppo=Learner(0.25))


def test_resume_takes_the_config_of_the_run(tmp_path: Path) -> None:
    RunDirectory(tmp_path, Config(steps=4, ppo=Learner(0.25))).close()
    assert walk(f"--out {tmp_path} --resume").config == Config(steps=4, ppo=Learner(0.25))
    assert walk(f"--out {tmp_path} --resume --steps 5").config.steps == 5
    assert walk(f"--out {tmp_path} --resume --preset smoke").config == PRESETS["smoke"]
    assert walk(f"--out {tmp_path / 'new'} --resume").config == Config()


@pytest.mark.parametrize("line", ["--slowest 2.0 --config FILE", "--slowest=2.0 --config=FILE", "--slowest 2.0 --preset fast"])
def test_a_flag_need_only_fit_what_the_file_or_the_preset_gives(tmp_path: Path, line: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text("fastest: 3.0\n")
    arguments = ["--out", "x", *line.replace("FILE", str(file)).split()]
    config = parse("walk", Arguments, arguments, {"fast": Config(fastest=3.0)}).config
    assert (config.slowest, config.fastest) == (2.0, 3.0)


def test_a_flag_need_only_fit_the_config_of_the_run_that_is_resumed(tmp_path: Path) -> None:
    RunDirectory(tmp_path, Config(fastest=3.0)).close()
    assert walk(f"--slowest 2.0 --out {tmp_path} --resume").config.slowest == 2.0
    with pytest.raises(UsageError, match=r"--slowest is 2\.0, --fastest is 1\.0"):
        walk(f"--slowest 2.0 --out {tmp_path}")


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(UsageError, match=f"--seed must be from 0 to 9223372036854775807, not {seed}"):
        walk(f"--out x --seed {seed}")
    assert walk(f"--out x --seed {2**63 - 1}").seed == 2**63 - 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "Missing from quadloop walk: --out PATH directory of the run (required); see quadloop walk --help"),
        ("--out x --stepz 3", "Unrecognized options: --stepz, 3; did you mean --steps?; see quadloop walk --help"),
        (
            "--out x --ppo.clip_ration 3",
            "Unrecognized options: --ppo.clip_ration, 3; did you mean --ppo.clip-ratio?; see quadloop walk --help",
        ),
        ("--out x y", "Unrecognized options: y; see quadloop walk --help"),
        ("--out x --steps 1.5", "Error parsing --steps: invalid literal for int() with base 10: '1.5'; see quadloop walk --help"),
        ("--out x --preset smok", "invalid choice 'smok' for argument '--preset'. Expected one of ("),
        ("--out x --ppo.weight nan", "--ppo.weight must be a finite number, not nan"),
        ("--out x --ppo.clip-ratio -1", "--ppo.clip-ratio is -1.0; it must be above 0"),
        ("--out x --ppo.clip-ratio=0", "--ppo.clip-ratio is 0.0; it must be above 0"),
        (
            "--out x --slowest 5 --fastest 4",
            "--slowest is 5.0, --fastest is 4.0; each must be at least the one before it",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        walk(line)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_positional_choice_is_named_as_the_verb_knows_it() -> None:
    with pytest.raises(UsageError, match=r"^invalid choice 'up' for argument 'way'\. Expected one of"):
        parse("walk", Directed, ["up"])


def test_a_file_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("step: 3")
    with pytest.raises(ConfigError, match=r"e\.yaml: unknown key 'step'; did you mean 'steps'\?"):
        walk(f"--out x --config {tmp_path / 'e.yaml'}")


def test_help_shows_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        walk("--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: quadloop walk" in shown
    for text in ("Walk about.", "--config FILE", "--preset {none,smoke,paper}", "--out PATH", "--resume", "--ppo.clip-ratio", "eps"):
        assert text in shown


def test_a_verb_without_a_config() -> None:
    assert parse("go", Plain, ["--speed", "0.5"]) == Plain(0.5)
    with pytest.raises(UsageError, match="Unrecognized options: --config"):
        parse("go", Plain, ["--speed", "1", "--config", "x"])
    with pytest.raises(UsageError, match="--speed must be a finite number, not inf"):
        parse("go", Plain, ["--speed", "inf"])


def test_to_go_on_and_to_delete_at_once_is_refused() -> None:
    with pytest.raises(UsageError, match="--resume goes on with a run and --force deletes it; give one of them"):
        parse("walk", Arguments, ["--out", "somewhere", "--resume", "--force"])
    assert parse("walk", Arguments, ["--out", "somewhere", "--resume"]).resume


def test_help_is_shown_beside_a_file_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("nonsense: 1")
    with pytest.raises(SystemExit) as end:
        parse("walk", Arguments, ["--config", str(tmp_path / "bad.yaml"), "--help"])
    assert end.value.code == 0 and "usage: quadloop walk" in capsys.readouterr().out
