"""A run's directory: nothing is overwritten unasked, and an interrupted run goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.errors import QuadloopError
from common.run_directory import RunDirectory, RunDirectoryError


@dataclass(frozen=True)
class Config:
    steps: int = 10
    lr: float = 0.5


def begun(path: Path, config: Config | None = None, **asked: Any) -> RunDirectory[Config]:
    """A run that began and was left."""
    with RunDirectory(path, config or Config(), **asked) as run:
        return run


def test_a_new_run_says_what_and_by_which_code(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "a" / "b", Config(steps=3)) as run:
        run.metrics.write("train", 1, {"loss": 2.0})
    assert (run.path / "config.yaml").read_text() == "steps: 3\nlr: 0.5\n"
    assert (run.path / "revision").read_text().strip()
    assert (run.path / "metrics.csv").read_text() == "stage,step,loss\ntrain,1,2.0\n"


def test_a_directory_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(RunDirectoryError, match=f"{tmp_path} holds a run; .*--resume.*--force"):
        begun(tmp_path)


@pytest.mark.parametrize("asked", [{}, {"resume": True}, {"force": True}])
def test_a_directory_that_no_run_made_is_never_touched(tmp_path: Path, asked: dict[str, bool]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "config.yaml").write_text("of: another project")
    with pytest.raises(RunDirectoryError, match="holds files that no run made"):
        begun(tmp_path, **asked)
    assert {entry.name for entry in tmp_path.iterdir()} == {"thesis.txt", "config.yaml"}


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(RunDirectoryError, match="is a file"):
        begun(tmp_path / "out", force=True)


@pytest.mark.parametrize("source", ["logs", "logs/2026/0001.hdf5", "../out/logs"])
def test_force_spares_what_the_run_reads(tmp_path: Path, source: str) -> None:
    out = tmp_path / "out"
    begun(out)
    (out / "logs" / "2026").mkdir(parents=True)
    (out / "logs" / "2026" / "0001.hdf5").write_bytes(b"a walk")
    with pytest.raises(RunDirectoryError, match=r"which this run reads and --force would delete; choose another --out"):
        begun(out, force=True, sources=[tmp_path / "elsewhere", out / source])
    assert (out / "config.yaml").exists()
    assert (out / "logs" / "2026" / "0001.hdf5").read_bytes() == b"a walk"


def test_a_link_to_what_the_run_reads_does_not_hide_it(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    (tmp_path / "out" / "policy.onnx").write_bytes(b"")
    (tmp_path / "newest").symlink_to(tmp_path / "out")
    with pytest.raises(RunDirectoryError, match="which this run reads"):
        begun(tmp_path / "out", force=True, sources=[tmp_path / "newest" / "policy.onnx"])


def test_force_starts_anew(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, Config(steps=3)) as run:
        run.mark_stage_done("critics", {})
        run.metrics.write("train", 1, {"loss": 2.0})
    (tmp_path / "critics.pt").write_bytes(b"of the run before")
    run = begun(tmp_path, Config(steps=4), force=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "config.yaml", "inputs.json", "revision"]
    assert (tmp_path / "config.yaml").read_text() == "steps: 4\nlr: 0.5\n"
    assert run.stage_result("critics") is None


def test_a_force_that_was_interrupted_is_finished_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path)
    (tmp_path / "logs").mkdir()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        begun(tmp_path, force=True)
    for asked in ({}, {"resume": True}):
        with pytest.raises(RunDirectoryError, match=r"a --force was interrupted in .*; add --force again"):
            begun(tmp_path, **asked)
    begun(tmp_path, force=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "config.yaml", "inputs.json", "revision"]


def test_a_file_of_that_name_makes_no_run_of_a_directory(tmp_path: Path) -> None:
    for name in ("thesis.txt", ".clearing"):
        (tmp_path / name).touch()
    with pytest.raises(RunDirectoryError, match="holds files that no run made"):
        begun(tmp_path, force=True)
    assert (tmp_path / "thesis.txt").exists()


def test_damaged_figures_do_not_keep_others_out(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "metrics.csv").write_text("nonsense\n")
    for _ in range(2):
        with pytest.raises(QuadloopError, match=r"metrics\.csv does not begin with"):
            begun(tmp_path, resume=True)


def test_a_run_in_which_somebody_keeps_versions_is_not_cleared(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / ".git").mkdir()
    begun(tmp_path, resume=True)
    with pytest.raises(RunDirectoryError, match=r"also holds \.git, which no run made"):
        begun(tmp_path, force=True)
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("asked", [{"resume": True}, {"force": True}])
def test_nobody_else_works_in_a_run_that_lives(tmp_path: Path, asked: dict[str, bool]) -> None:
    with RunDirectory(tmp_path, Config()) as run:
        (tmp_path / "critics.pt").write_bytes(b"hours")
        with pytest.raises(RunDirectoryError, match="another process works in"):
            begun(tmp_path, **asked)
        assert (run.path / "critics.pt").exists()
    begun(tmp_path, **asked)


def test_force_does_not_follow_links(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    begun(tmp_path / "run")
    (tmp_path / "run" / "link").symlink_to(elsewhere)
    begun(tmp_path / "run", force=True)
    assert (elsewhere / "kept").exists()
    assert not (tmp_path / "run" / "link").exists()


def test_resume_goes_on(tmp_path: Path) -> None:
    run = begun(tmp_path)
    assert run.stage_result("critics") is None
    run.mark_stage_done("critics", {"loss": 0.1})
    run.mark_stage_done("empty", {})
    again = begun(tmp_path, resume=True)
    assert again.stage_result("critics") == {"loss": 0.1}
    assert again.stage_result("empty") == {}
    assert again.stage_result("dynamics") is None


def test_resume_of_nothing_starts(tmp_path: Path) -> None:
    begun(tmp_path / "new", resume=True)
    assert (tmp_path / "new" / "config.yaml").exists()


def test_resume_with_another_config_is_refused(tmp_path: Path) -> None:
    begun(tmp_path, Config(lr=0.5))
    with pytest.raises(RunDirectoryError, match=r"holds a run of another config \(lr is 0.5, not 0.25\)"):
        begun(tmp_path, Config(lr=0.25), resume=True)


def test_what_a_stored_config_lacks_is_not_what_is_asked_for_now(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "config.yaml").write_text("steps: 10\n")
    begun(tmp_path, resume=True)
    with pytest.raises(RunDirectoryError, match=r"\(lr is 0.5, not 9.0\)"):
        begun(tmp_path, Config(lr=9.0), resume=True)


def test_a_run_of_another_version_is_not_gone_on_with_unless_it_only_knew_less(tmp_path: Path) -> None:
    begun(tmp_path, inputs={"seed": 1})
    begun(tmp_path, inputs={"seed": 1, "trials": 20}, resume=True)
    (tmp_path / "config.yaml").write_text("steps: 10\npatience: 3\n")
    with pytest.raises(
        RunDirectoryError, match=r"patience.*; that run is of another version or was changed: choose another --out, or --force$"
    ):
        begun(tmp_path, inputs={"seed": 1}, resume=True)


def test_resume_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, Config()) as run:
        run.mark_stage_done("critics", {})
    left = [
        tmp_path / ".checkpoint.pt.4711.tmp", tmp_path / "stages" / ".critics.json.4711.tmp", tmp_path / "offline" / ".critics.pt.4711.tmp",
    ]  # fmt: skip
    others = [tmp_path / ".notes.tmp", tmp_path / "checkpoint.pt.4711.tmp", tmp_path / ".draft.4711.tmp.txt"]
    (tmp_path / "offline").mkdir()
    for path in left + others:
        path.write_text("")
    (tmp_path / ".folder.4711.tmp").mkdir()
    begun(tmp_path, resume=True)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)
    assert (tmp_path / ".folder.4711.tmp").is_dir()


def test_resume_with_another_input_is_refused(tmp_path: Path) -> None:
    begun(tmp_path, inputs={"seed": 1, "logs": Path("here")})
    begun(tmp_path, inputs={"seed": 1, "logs": Path("here")}, resume=True)
    with pytest.raises(RunDirectoryError, match=r"holds a run of another config \(logs is here, not there\)"):
        begun(tmp_path, inputs={"seed": 1, "logs": Path("there")}, resume=True)


def test_what_is_known_by_its_hash_is_said_to_have_changed(tmp_path: Path) -> None:
    begun(tmp_path, inputs={"logs_sha256": "12ab"})
    with pytest.raises(RunDirectoryError, match=r"\(other or changed logs: sha256 was 12ab, is 34cd\); resume without changes"):
        begun(tmp_path, inputs={"logs_sha256": "34cd"}, resume=True)


def test_what_a_crash_leaves_before_the_config_is_written_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "revision").write_text("unknown\n")
    (tmp_path / "inputs.json").write_text('{"seed": 1}\n')
    (tmp_path / ".config.yaml.123.tmp").write_text("ste")
    begun(tmp_path)
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    "content",
    ["", "{", "3", "\x00", '{"a":' * 100_000 + "1" + "}" * 100_000, '{"a": "' + "x" * (1 << 24) + '"}'],
    ids=["empty", "cut", "number", "zero byte", "deep", "long"],
)
def test_a_damaged_stage_is_named(tmp_path: Path, content: str) -> None:
    run = begun(tmp_path)
    run.mark_stage_done("critics", {})
    (tmp_path / "stages" / "critics.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"critics\.json is damaged; delete it"):
        run.stage_result("critics")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A b", ".hidden"])
def test_stage_names_are_file_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a stage"):
        begun(tmp_path).mark_stage_done(name, {})
