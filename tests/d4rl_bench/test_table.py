"""Results in small files, and the tables and curves that are made of them."""

import json
import os
import sys

import pytest

from d4rl_bench.gate_record import gate_record
from d4rl_bench.table import BEGIN, END, TableError, build_table, collect, plot_curves, read_file, thinned, write_table
from d4rl_bench.task import all_tasks

HOPPER, WALKER = "hopper-medium-v2", "walker2d-medium-v2"
TWO = {name: all_tasks()[name] for name in (HOPPER, WALKER)}


def result(task=HOPPER, method="iql", seed=0, score=50.0, **changes):
    made = {
        "phase": "offline", "task": task, "method": method, "seed": seed, "preset": "minutes", "overrides": {},
        "key": f"{task}/{method}/{seed}", "score": score, "return": {"mean": 1600.0, "ci95": [1500.0, 1700.0]},
        "curve": [[0, 10.0], [1000, score]],
        "data": {"sha256": "ab" * 32, "source": "hopper_medium-v2.hdf5", "steps": 1_000_000, "made_locally": False},
        "seconds": 60.0, "revision": "c" * 40, "command": "quadloop d4rl sweep", "versions": {"torch": "2.13.0"},
    }  # fmt: skip
    return made | changes


def local(**changes):
    return {"sha256": "cd" * 32, "source": "made|locally\nby us", "steps": 20_000, "made_locally": True} | changes


@pytest.fixture
def gathered(tmp_path):
    """Writes results into one file of a folder and returns the folder."""

    def write(*results, name="offline/hopper-medium-v2.json"):
        path = tmp_path / "gathered" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results))
        return tmp_path / "gathered"

    return write


def rows_of(table, name):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith(f"| {name}")]


def test_the_offline_table(gathered):
    folder = gathered(
        *(result(method="iql", seed=seed, score=score) for seed, score in enumerate([60.0, 62.0, 64.0, 66.0, 68.0])),
        *(result(method="uni-o4", seed=seed, score=score) for seed, score in enumerate([70.0, 80.0])),
        result(task=WALKER, method="iql", score=-3.04),
    )
    # 60, 62, 64, 66, 68: mean 64, squared deviations 16 + 4 + 0 + 4 + 16 = 40, 40 / 4 = 10, root 3.16; 70, 80: root of 50 = 7.07
    assert build_table([folder], TWO).split("\n\n")[:2] == [
        "### Offline",
        "| task | iql, minutes | uni-o4, minutes | *BC* | *IQL* | *TD3+BC* | *Uni-O4* |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| hopper-medium-v2 | 64.0 ± 3.2 (5) | **75.0 ± 7.1 (2) ‡** | *52.8* | *66.3* | *59.3* | *104.4* |\n"
        "| walker2d-medium-v2 | -3.0 (1) ‡ | – | *74.0* | *78.3* | *83.7* | *90.2* |",
    ]


def test_totals_are_of_the_rows_in_which_all_methods_are_measured(gathered):
    third = "halfcheetah-medium-v2"
    tasks = {third: all_tasks()[third]} | TWO
    folder = gathered(
        result(score=60.0), result(method="bc", score=50.0), result(task=third, score=1000.0),
        result(task=WALKER, score=70.0), result(task=WALKER, method="bc", score=81.5),
    )  # fmt: skip
    # quoted: hopper 52.8, 66.3, 59.3, 104.4, walker2d 74.0, 78.3, 83.7, 90.2
    assert rows_of(build_table([folder], tasks), "sum") == [
        ["sum of the 2 rows without a gap", "**131.5**", "130.0", "*126.8*", "*144.6*", "*143.0*", "*194.6*"]
    ]


def test_without_two_whole_rows_there_is_no_total(gathered):
    folder = gathered(result(), result(task=WALKER), result(task=WALKER, method="bc"))
    assert rows_of(build_table([folder], TWO), "sum") == []


def test_what_looks_equal_is_equally_good(gathered):
    folder = gathered(result(method="bc", score=50.01), result(method="iql", score=50.04), result(method="uni-o4", score=49.9))
    assert rows_of(build_table([folder], TWO), HOPPER)[0][1:4] == ["**50.0 (1) ‡**", "**50.0 (1) ‡**", "49.9 (1) ‡"]


def test_every_task_has_a_row_in_the_papers_order(gathered):
    table = build_table([gathered()], all_tasks())
    assert [line.split(" ")[1] for line in table.splitlines() if line.startswith("| ")][2:] == list(all_tasks())


def test_data_that_were_made_locally_are_marked_and_kept_apart(gathered):
    folder = gathered(result(score=70.0), result(score=90.0, key="other", data=local()))
    table = build_table([folder], TWO)
    offline, data = table.split("### Data")
    assert [row[:2] for row in rows_of(offline, HOPPER)] == [[HOPPER, "70.0 (1) ‡"], [f"{HOPPER} †", "90.0 (1) ‡"]]
    assert "- †: on data that were made locally, not D4RL's" in offline
    assert data.strip().splitlines()[2:] == [
        "| hopper-medium-v2 | hopper_medium-v2.hdf5 | 1,000,000 | abababababab |",
        "| hopper-medium-v2 † | made\\|locally by us | 20,000 | cdcdcdcdcdcd |",
    ]


def test_the_legend_explains_only_the_marks_that_are_there(gathered):
    table = build_table([gathered(*(result(seed=seed) for seed in range(5)))], TWO)
    assert "†" not in table
    assert "‡" not in table


def test_presets_have_columns_of_their_own_and_ablations_none(gathered):
    folder = gathered(
        result(method="uni-o4"),
        result(method="uni-o4", preset="paper", key="b"),
        result(method="uni-o4", score=99.0, overrides={"uni_o4.members": 1}, key="c"),
    )
    header = build_table([folder], TWO).splitlines()[2]
    assert header.startswith("| task | uni-o4, minutes | uni-o4, paper | *BC* |")
    assert "99.0" not in build_table([folder], TWO)


def test_the_online_table(gathered):
    curve = [[0, 70.0], [10_000, 50.0], [20_000, 65.0], [200_000, 20.0], [210_000, 91.0], [250_000, 101.0]]
    other = [[0, 74.0], [10_000, 68.0], [20_000, 60.0], [200_000, 90.0], [210_000, 97.0], [250_000, 103.0]]
    folder = gathered(
        result(phase="online", method="uni-o4", seed=0, score=101.0, curve=curve),
        result(phase="online", method="uni-o4", seed=1, score=103.0, curve=other),
        result(phase="online", method="scratch", seed=0, score=40.0, curve=[[1000, 2.0], [250_000, 40.0]]),
        name="online/hopper-medium-v2.json",
    )
    # in the first 20,000 steps: means 57.5 and 64 of the two seeds, 60.75, deviation root of 2 * 3.25^2; lowest 50 and 60, 55, root of 50;
    # in the last 50,000: means 96 and 100, 98, root of 8
    assert build_table([folder], TWO).split("### Online\n\n")[1].split("\n\n")[0].splitlines() == [
        "| task | from | before | mean of the first 20,000 steps | lowest of them | mean of the last 50,000 | at the end | steps |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| hopper-medium-v2 | uni-o4, minutes | 72.0 ± 2.8 | 60.8 ± 4.6 | 55.0 ± 7.1 | 98.0 ± 2.8 | **102.0 ± 1.4 (2) ‡** | 250,000 |",
        "| hopper-medium-v2 | scratch, minutes | – | 2.0 | 2.0 | 40.0 | 40.0 (1) ‡ | 250,000 |",
    ]


def test_the_tables_do_not_depend_on_the_order_of_files_and_results(gathered):
    results = [result(method=method, seed=seed) for method in ("uni-o4", "bc") for seed in range(3)]
    first = build_table([gathered(*results)], TWO)
    assert build_table([gathered(*reversed(results))], TWO) == first
    gathered(*results[:2], name="a.json")
    assert build_table([gathered(*results[2:])], TWO) == first


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
    build_table([into], TWO)


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
        ('[{"phase": "offline", "score": NaN}]', "result 0: no 'task'"),
        (json.dumps([result(score=float("nan"))]), "score must be a finite number"),
    ],
)
def test_a_bad_file_is_named_on_one_line(tmp_path, content, complaint):
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(TableError) as caught:
        build_table([tmp_path], TWO)
    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_results_for_one_place_are_refused(gathered):
    folder = gathered(result(key="a"), name="a.json")
    gathered(result(key="b"), name="b.json")
    two = r"there are two offline results of hopper-medium-v2, iql, minutes, seed 0, keys 'a' in \S+/a.json and 'b' in \S+/b.json; remove"
    with pytest.raises(TableError, match=two):
        build_table([folder], TWO)


def test_two_results_with_one_key_are_refused_unless_they_are_the_same(gathered):
    gathered(result(score=1.0), name="a.json")
    build_table([gathered(result(score=1.0), name="b.json")], TWO)
    with pytest.raises(TableError, match=r"c.json: another file has another result with the key"):
        build_table([gathered(result(score=2.0), name="c.json")], TWO)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TableError, match="none is no folder of results"):
        build_table([tmp_path / "none"], TWO)


def test_the_tables_go_between_the_marks_of_a_page(tmp_path, gathered):
    page, folder = tmp_path / "d4rl.md", gathered(result())
    page.write_bytes(f"# Ours\r\n\r\nabove ü\n{BEGIN}\nold\n{END}\nbelow\n".encode())
    write_table(page, [folder], TWO)
    write_table(page, [folder], TWO)
    assert page.read_bytes().decode() == f"# Ours\r\n\r\nabove ü\n{BEGIN}\n{build_table([folder], TWO)}\n{END}\nbelow\n"


def test_a_page_that_is_not_there_is_made(tmp_path, gathered):
    page, folder = tmp_path / "docs" / "d4rl.md", gathered(result())
    write_table(page, [folder], TWO)
    assert page.read_text() == f"# D4RL\n\n{BEGIN}\n{build_table([folder], TWO)}\n{END}\n"


@pytest.mark.parametrize("text", ["", f"{END}\n{BEGIN}\n", f"{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_a_page_without_the_marks_is_refused_and_stays(tmp_path, gathered, text):
    page = tmp_path / "d4rl.md"
    page.write_text(text)
    with pytest.raises(TableError, match="must have one line"):
        write_table(page, [gathered(result())], TWO)
    assert page.read_text() == text


def test_curves_are_drawn(tmp_path, gathered):
    pytest.importorskip("matplotlib")
    folder = gathered(
        *(result(seed=seed, curve=[[0, 1.0], [500 + seed, 2.0], [1000, 3.0]]) for seed in range(3)),
        result(task=WALKER, method="bc", curve=[]),
        result(phase="online", method="scratch"),
    )
    assert plot_curves([folder], tmp_path / "curves.png") is None
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_curve_or_without_matplotlib_there_is_no_picture(tmp_path, gathered, monkeypatch):
    for curve in ([], [[0, 30.0]]):
        assert "no result has a curve" in plot_curves([gathered(result(curve=curve))], tmp_path / "curves.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "quadloop[viz]" in plot_curves([gathered(result())], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_what_starts_from_nothing_is_shown_beside_all_tasks_of_its_environment(gathered):
    replay = "hopper-medium-replay-v2"
    folder = gathered(
        result(phase="online", method="scratch", score=40.0),
        result(phase="online", method="uni-o4", score=90.0),
        result(task=replay, phase="online", method="uni-o4", score=80.0),
        result(task=WALKER, phase="online", method="uni-o4", score=70.0),
        name="online/all.json",
    )
    table = build_table([folder], all_tasks())
    online = table.split("### Online")[1].split("### Data")[0]
    assert [row[:2] + row[6:7] for row in rows_of(online, "hopper")] == [
        [HOPPER, "uni-o4, minutes", "**90.0 (1) ‡**"],
        [HOPPER, "scratch, minutes", "40.0 (1) ‡"],
        [replay, "uni-o4, minutes", "**80.0 (1) ‡**"],
        [replay, "scratch, minutes", "40.0 (1) ‡"],
    ]
    assert len(rows_of(online, WALKER)) == 1
    assert len(rows_of(table.split("### Data")[1], "hopper")) == 2


def query(step, member, difference, score, accepted):
    return {
        "step": step,
        "member": member,
        "difference": difference,
        "score": score,
        "accepted": accepted,
        "standard_error": 1.0,
        "kl": 0.1,
    }


def test_the_gates_table(gathered):
    """Hopper's return is -20.27 + 32.546 a point: at 50 points 1607, and a fifth of it is 321.4 or 9.9 points."""
    queries = [
        query(100, 0, 2.0, 60.0, True),  # 50 -> 60: told
        query(100, 1, 2.0, 45.0, False),  # 50 -> 45: not told, but within the margin
        query(200, 0, -1.0, 80.0, False),  # 60 -> 80: not told, and a third is beyond the margin
        query(200, 1, -1.0, 50.0, False),  # no change: not counted
        query(300, 0, -3.0, 20.0, False),  # 60 -> 20: told
    ]
    folder = gathered(result(method="uni-o4", score=60.0, clones=[50.0, 50.0], queries=queries), result())
    table = build_table([folder], TWO)
    assert "### The gate" in table
    assert rows_of(table, HOPPER)[1] == [HOPPER, "uni-o4, minutes", "4", "50%", "75%", "50.0", "60.0", "80.0"]


def test_the_last_line_of_the_gates_table_is_of_all_queries(gathered):
    told, untold = query(100, 0, 1.0, 90.0, True), query(100, 0, -1.0, 90.0, False)
    folder = gathered(
        result(method="uni-o4", clones=[50.0], queries=[told, untold]),
        result(task=WALKER, method="uni-o4", clones=[50.0], queries=[untold]),
    )
    # hopper: told, then the candidate is as good as what it would replace; walker2d: untold
    assert rows_of(build_table([folder], TWO), "all") == [["all", "", "2", "50%", "50%", "", "", ""]]


@pytest.mark.parametrize(
    "damage",
    [
        {"queries": 3},
        {"queries": [{}]},
        {"clones": []},
        {"clones": ["a"]},
        {"queries": [query(1, 7, 1.0, 1.0, True)]},
        {"queries": [[]]},
        {"queries": [query(1, -1, 1.0, 1.0, True)]},
    ],
)
def test_damaged_queries_are_refused(gathered, damage):
    folder = gathered(result(method="uni-o4", **{"clones": [50.0], "queries": [query(1, 0, 1.0, 1.0, True)]} | damage))
    with pytest.raises(TableError, match="its queries of the gate are damaged"):
        build_table([folder], TWO)


def test_a_candidate_that_blew_up_told_no_sign():
    queries = [{"member": 0, "score": 20.0, "difference": difference, "accepted": False} for difference in (None, 1.0)]
    record = gate_record({"clones": [10.0], "score": 10.0, "queries": queries}, all_tasks()[HOPPER])
    assert (record.queries, record.agreed) == (2, 1)
