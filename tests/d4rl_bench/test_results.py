"""Results of the benchmark in small files: gathered, checked, read back."""

import json
import os

import pytest

from d4rl_bench.results import ResultsError, collect, read_file, read_results, thinned
from d4rl_bench.table import build_table
from d4rl_bench.task import all_tasks
from tests.d4rl_bench.made_results import HOPPER, TWO, local, result, rows_of


def test_thinned_curves_keep_their_ends_and_all_early_and_late_points():
    curve = [[1000 * step, 50.0 + step % 7] for step in range(500)]
    thin = thinned(curve, early_steps=20_000, late_steps=50_000)
    assert len(thin) <= 21 + 40 + 50
    assert thin[0] == curve[0]
    assert thin[-1] == curve[-1]
    assert thin[:21] == curve[:21]
    assert all(point in curve for point in thin)
    assert thin[-50:] == curve[-50:]
    assert thinned(thin, early_steps=20_000, late_steps=50_000) == thin
    assert len(thinned(curve, early_steps=0, late_steps=0)) == 40
    assert thinned(curve[:40], early_steps=0, late_steps=0) == curve[:40]


def finish(out, content):
    folder = out / content["key"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(content))


def test_finished_cells_of_a_sweep_are_gathered(tmp_path):
    out, into = tmp_path / "out", tmp_path / "into"
    finish(out, result(curve=[[step, 1.0] for step in range(100)], more={"kept": True}))
    finish(out, result(method="bc"))
    finish(out, result(phase="online", key="online"))
    (out / "unfinished").mkdir()
    (out / "unfinished" / "job.json").write_text("{}")
    collect(out, into)
    assert sorted(str(path.relative_to(into)) for path in into.rglob("*.json")) == [f"offline/{HOPPER}.json", f"online/{HOPPER}.json"]
    bc, iql = read_file(into / "offline" / f"{HOPPER}.json")
    assert bc.content == result(method="bc")
    assert len(iql.curve) == 40
    assert iql.content["more"] == {"kept": True}


def test_a_cell_with_a_number_that_is_none_is_refused_on_one_line(tmp_path):
    finish(tmp_path / "out", result(more=float("nan")))
    with pytest.raises(ResultsError, match=r"^\S+/result.json: not a readable JSON file \(NaN is not a finite number\)$"):
        collect(tmp_path / "out", tmp_path / "into")


def test_collecting_again_changes_nothing(tmp_path):
    out, into = tmp_path / "out", tmp_path / "into"
    finish(out, result(phase="online", key="a", curve=[[1000 * step, 1.0] for step in range(251)]))
    finish(out, result(phase="online", method="scratch", key="b"))
    collect(out, into)
    once = (into / "online" / f"{HOPPER}.json").read_text()
    collect(out, into)
    assert (into / "online" / f"{HOPPER}.json").read_text() == once


@pytest.mark.parametrize(
    ("before", "after", "stands"),
    [
        ({}, {"finished": 20}, "2"),  # of earlier revisions, which did not say
        ({"finished": 10}, {"finished": 20}, "2"),
        ({"finished": 30}, {"finished": 20}, "1"),
        ({}, {}, "1"),
        ({"finished": 10}, {}, "1"),
    ],
)
def test_of_two_results_in_one_place_the_one_that_was_finished_last_stands_and_it_is_said(tmp_path, capsys, before, after, stands):
    into = tmp_path / "into"
    finish(tmp_path / "first", result(key="1", revision="1" * 40, **before))
    finish(tmp_path / "second", result(key="2", revision="2" * 40, **after))
    for out in ("first", "second"):
        collect(tmp_path / out, into)
    path, goes = into / "offline" / f"{HOPPER}.json", {"1": "2", "2": "1"}[stands]
    assert [one.key for one in read_file(path)] == [stands]
    assert capsys.readouterr().err == (
        f"{path}: {HOPPER}, iql, minutes, seed 0: revision {stands * 12} of data abababababab "
        f"stands in place of revision {goes * 12} of data abababababab\n"
    )
    read_results([into])


def test_of_two_cells_of_one_place_the_newer_counts(tmp_path):
    for name, when in (("a", 3000), ("b", 1000), ("c", 2000)):
        finish(tmp_path / "out", result(key=name))
        os.utime(tmp_path / "out" / name / "result.json", (when, when))
    collect(tmp_path / "out", tmp_path / "into")
    assert [one.key for one in read_file(tmp_path / "into" / "offline" / f"{HOPPER}.json")] == ["a"]


def test_what_starts_from_nothing_takes_its_place_in_whichever_file_it_is(tmp_path, gathered):
    replay = "hopper-medium-replay-v2"
    there = [result(task=replay, phase="online", method="scratch", seed=seed, score=40.0, key=key) for seed, key in enumerate("ab")]
    gathered(result(task=replay, phase="online", key="u", method="uni-o4", score=80.0), *there, name=f"online/{replay}.json")
    for seed, key in ((1, "c"), (2, "d")):  # now it lies under its world's first task, and has no data
        content = result(phase="online", method="scratch", seed=seed, score=44.0, key=key, finished=1)
        del content["data"]
        finish(tmp_path / "new", content)
    into = tmp_path / "gathered"
    collect(tmp_path / "new", into)
    assert [one.key for one in read_file(into / "online" / f"{replay}.json")] == ["u", "a", "c"]
    assert [one.key for one in read_file(into / "online" / f"{HOPPER}.json")] == ["d"]
    online = build_table([into], TWO | {replay: all_tasks()[replay]}).split("### Online")[1].split("### Data")[0]
    # 40, 44, 44: mean 42.67, deviation the root of (7.11 + 1.78 + 1.78) / 2
    assert [row[:2] + row[6:7] for row in rows_of(online, "hopper")] == [
        [replay, "uni-o4, minutes", "**80.0 (1) ‡**"],
        [replay, "scratch, minutes", "42.7 ± 2.3 (3) ‡"],
    ]


def test_a_newer_result_takes_the_place_of_the_one_with_its_key(tmp_path):
    into = tmp_path / "into"
    finish(tmp_path / "first", result(score=1.0))
    finish(tmp_path / "first", result(seed=1, score=2.0))
    finish(tmp_path / "second", result(score=3.0))
    finish(tmp_path / "second", result(seed=2, score=4.0))
    for out in ("first", "second"):
        collect(tmp_path / out, into)
    assert [(one.seed, one.score) for one in read_file(into / "offline" / f"{HOPPER}.json")] == [(0, 3.0), (1, 2.0), (2, 4.0)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "not a readable JSON file"),
        ("[" * 100_000, "not a readable JSON file"),
        ("{}", "not a list of results"),
        ("[7]", "result 0: not a mapping"),
        ([{"phase": "offline"}], "result 0: no 'task'"),
        ([result(score=None)], "score must be a finite number, not None"),
        ([result(), result(seed="1")], "result 1: seed must be a whole number, not '1'"),
        ([result(phase="later")], "phase must be one of offline, online, not 'later'"),
        ([result(task="../../etc/hopper")], "there is no task '../../etc/hopper'"),
        ([result(overrides=[])], "overrides must be a mapping"),
        ([result(data=None)], "data: not a mapping"),
        ([result(data=local(steps=True))], "data: steps must be a whole number, not True"),
        ([result(curve=[[0, 1.0], [0, 2.0]])], "the steps of its curve do not rise"),
        ([result(curve=[[0, 1.0, 2.0]])], "curve must be a list"),
        ([result(seed=-1)], "seed is -1; it must be 0 or more"),
        ([result(key="")], "key is empty"),
        ([result(data=local(sha256=""))], "data: sha256 is empty"),
        (json.dumps([result(score=float("nan"))]), "not a readable JSON file (NaN is not a finite number)"),
        (json.dumps([result(more=float("-inf"))]), "not a readable JSON file (-Infinity is not a finite number)"),
        ('[{"more": 1e999}]', "not a readable JSON file (1e999 is not a finite number)"),
    ],
)
def test_a_bad_file_is_named_on_one_line(tmp_path, content, complaint):
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ResultsError) as caught:
        read_results([tmp_path])
    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_results_for_one_place_are_refused(gathered):
    folder = gathered(result(key="a"), name="a.json")
    gathered(result(key="b"), name="b.json")
    two = r"there are two offline results of hopper-medium-v2, iql, minutes, seed 0, keys 'a' in \S+/a.json and 'b' in \S+/b.json; remove"
    with pytest.raises(ResultsError, match=two):
        read_results([folder])


def test_two_results_with_one_key_are_refused_unless_they_are_the_same(gathered):
    gathered(result(score=1.0), name="a.json")
    read_results([gathered(result(score=1.0), name="b.json")])
    with pytest.raises(ResultsError, match=r"c.json: another file has another result with the key"):
        read_results([gathered(result(score=2.0), name="c.json")])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ResultsError, match="none is no folder of results"):
        read_results([tmp_path / "none"])
