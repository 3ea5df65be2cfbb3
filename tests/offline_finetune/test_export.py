"""What was exported, read again by whom it is for."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from offline_finetune.export import DATASET_ID, MINARI_ROOT
from quadloop import main
from robot.log.episode_log import list_episodes, read_episode, write_episode
from robot.observation import SLOT_17_TIMING, go1_layout
from robot.policy.metadata import layout_json
from robot.supervisor import SafetyEvent


def unmeasured(*rows):
    """Reward terms (10, 7) that were not measured in these rows."""
    terms = np.zeros((10, 7), dtype=np.float32)
    terms[list(rows), 0] = np.nan
    return terms


@pytest.fixture
def logs(write_made):
    write_made(10, session="a", fell=True)
    return write_made(10, session="b", reward_terms=unmeasured(4, 5)).parent


def export(logs, out, *more):
    return main(["export", str(logs), "--out", str(out), "--json", *more])


def test_d4rl_has_the_steps_of_the_data_set(logs, tmp_path, capsys):
    assert export(logs, tmp_path / "all.hdf5") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["steps"], said["episodes"], said["fragments"]) == (18, 2, 3)
    with h5py.File(tmp_path / "all.hdf5") as file:
        found = {name: file[name][:] for name in file}
    assert set(found) == {"observations", "actions", "rewards", "next_observations", "terminals", "timeouts"}
    assert found["observations"].shape == (18, 290)
    first = read_episode(list_episodes(logs)[0])
    assert np.array_equal(found["observations"][:10], first.observations.reshape(10, 290))
    assert np.array_equal(found["rewards"][:10], first.rewards)
    assert np.array_equal(found["next_observations"][9], first.final_observation.ravel())


def test_d4rl_marks_every_place_where_rows_do_not_follow(logs, tmp_path):
    assert export(logs, tmp_path / "all.hdf5") == 0
    with h5py.File(tmp_path / "all.hdf5") as file:
        assert np.flatnonzero(file["terminals"][:]).tolist() == [9]
        assert np.flatnonzero(file["timeouts"][:]).tolist() == [13, 17]  # rows 4 and 5 of the second episode are not there


def test_minari_reads_whole_episodes(logs, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    assert export(logs, tmp_path / "minari", "--format", "minari") == 0
    monkeypatch.setenv(MINARI_ROOT, str(tmp_path / "minari"))
    dataset = minari.load_dataset(DATASET_ID)
    assert (dataset.total_episodes, dataset.total_steps) == (2, 20)
    for log, episode in zip(list_episodes(logs), dataset.iterate_episodes(), strict=True):
        ours = read_episode(log)
        assert np.array_equal(episode.observations[:-1], ours.observations.reshape(10, 290))
        assert np.array_equal(episode.observations[-1], ours.final_observation.ravel())
        assert np.array_equal(episode.actions, ours.actions)
        assert np.array_equal(episode.rewards.astype(np.float32), ours.rewards)
        assert np.array_equal(episode.terminations, ours.terminated)
        assert np.array_equal(episode.truncations, ours.truncated)
    first, second = (np.flatnonzero(~episode.infos["usable"][1:]).tolist() for episode in dataset.iterate_episodes())
    assert (first, second) == ([], [4, 5])  # which export_d4rl leaves out


def test_minari_goes_to_a_relative_directory_too(logs, tmp_path, monkeypatch):
    pytest.importorskip("minari")
    monkeypatch.chdir(tmp_path)
    assert export(logs, Path("runs/minari"), "--format", "minari") == 0
    assert (tmp_path / "runs" / "minari" / "quadloop" / "go1-v0" / "data" / "main_data.hdf5").is_file()


def unreadable(steps):
    """Safety events of an episode that a state ended which was no reading of the robot."""
    events = np.zeros(steps, dtype=np.uint32)
    events[-1] = int(SafetyEvent.STALE_STATE)
    return events


@pytest.mark.parametrize("form", ["d4rl", "minari"])
def test_an_episode_of_which_nothing_is_left_is_left_out(write_made, tmp_path, capsys, form):
    if form == "minari":
        pytest.importorskip("minari")
    logs = write_made(1, safety_events=unreadable(1)).parent
    assert export(logs, tmp_path / "none", "--format", form) == 1
    assert capsys.readouterr().err == "quadloop: error: no step in these logs can be used: see quadloop inspect\n"
    write_made(10)
    assert export(logs, tmp_path / "one", "--format", form) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 1


@pytest.mark.parametrize("form", ["d4rl", "minari"])
def test_nothing_is_overwritten_and_nothing_half_written(logs, tmp_path, capsys, form):
    if form == "minari":
        pytest.importorskip("minari")
    assert export(logs, tmp_path / "out", "--format", form) == 0
    assert export(logs, tmp_path / "out", "--format", form) == 1
    assert "exists" in capsys.readouterr().err
    assert export(logs, tmp_path / "out", "--format", form, "--force") == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_force_deletes_no_directory_of_somebody_else(logs, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert export(logs, tmp_path / "mine", "--format", "minari", "--force") == 1
    assert "something else" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_force_keeps_a_project_that_has_the_name(logs, tmp_path):
    (tmp_path / "projects" / "quadloop").mkdir(parents=True)
    (tmp_path / "projects" / "quadloop" / "mine.py").write_text("")
    assert export(logs, tmp_path / "projects", "--format", "minari", "--force") == 1
    assert (tmp_path / "projects" / "quadloop" / "mine.py").exists()


def test_an_export_does_not_land_among_the_logs(logs, capsys):
    before = {path: path.read_bytes() for path in logs.iterdir()}
    for out in (next(iter(before)), logs / "new.hdf5"):
        assert export(logs, out, "--force") != 0
        assert "among the logs" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in logs.iterdir()} == before


def test_a_failed_export_leaves_the_older_one(logs, tmp_path, monkeypatch):
    pytest.importorskip("minari")
    out = tmp_path / "minari"
    assert export(logs, out, "--format", "minari") == 0
    before = sorted(out.rglob("*"))
    monkeypatch.setattr("minari.create_dataset_from_buffers", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    assert export(logs, out, "--format", "minari", "--force") == 1
    assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize("form", ["d4rl", "minari"])
def test_a_full_disk_is_told_in_one_line_and_nothing_is_left(logs, tmp_path, capfd, full_disk, form):
    if form == "minari":
        pytest.importorskip("minari")
    with full_disk():
        assert export(logs, tmp_path / "new" / "out", "--format", form) == 1
    assert capfd.readouterr().err == f"quadloop: error: {tmp_path}/new/out: File too large\n"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_place_that_may_not_be_written_to_is_named_as_it_was_given(logs, tmp_path, capsys):
    pytest.importorskip("minari")
    (tmp_path / "file").touch()
    assert export(logs, tmp_path / "file" / "out", "--format", "minari") == 1
    assert capsys.readouterr().err == f"quadloop: error: {tmp_path}/file/out: Not a directory\n"


@pytest.mark.parametrize("taken", [False, True], ids=["before the new one was there", "after"])
def test_what_a_killed_export_had_moved_aside_is_put_back(logs, tmp_path, capsys, taken):
    pytest.importorskip("minari")
    out = tmp_path / "minari"
    assert export(logs, out, "--format", "minari") == 0
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    (shutil.copytree if taken else shutil.move)(out, tmp_path / ".minari.123.old")
    (tmp_path / ".minari.124.tmp" / "quadloop").mkdir(parents=True)
    assert export(logs, out, "--format", "minari") == 1
    assert "exists" in capsys.readouterr().err
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    assert not list(tmp_path.glob(".minari*"))


@pytest.mark.parametrize("form", ["d4rl", "minari"])
def test_logs_of_two_layouts_are_not_mixed(logs, tmp_path, capsys, form):
    if form == "minari":
        pytest.importorskip("minari")
    episode = read_episode(list_episodes(logs)[0])
    other = replace(episode.attributes, layout_json=layout_json(go1_layout(SLOT_17_TIMING)))
    write_episode(logs / "other.hdf5", replace(episode, attributes=other))
    assert export(logs, tmp_path / "out", "--format", form) == 1
    assert "layout" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_mistakes_are_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for logs in (tmp_path / "empty", tmp_path / "nothing"):
        assert export(logs, tmp_path / "out.hdf5") == 1
        assert capsys.readouterr().err.count("\n") == 1
