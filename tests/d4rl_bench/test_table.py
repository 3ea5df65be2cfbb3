"""The tables that are made of results."""

import pytest

from d4rl_bench.gate_record import gate_record
from d4rl_bench.markdown import BEGIN, END, MarkdownError
from d4rl_bench.results import ResultsError
from d4rl_bench.table import build_table, write_table
from d4rl_bench.task import all_tasks
from tests.d4rl_bench.made_results import HOPPER, TWO, WALKER, local, result, rows_of


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


def test_a_trial_of_another_preset_leaves_the_totals_as_they_are(gathered):
    folder = gathered(
        result(score=60.0), result(method="bc", score=50.0), result(task=WALKER, score=70.0), result(task=WALKER, method="bc", score=81.5),
        result(preset="smoke", score=1.0, key="trial"),
    )  # fmt: skip
    assert [row[:4] for row in rows_of(build_table([folder], TWO), "sum")] == [
        ["sum of the 2 rows without a gap", "**131.5**", "130.0", "–"]
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


def test_minaris_data_are_marked_and_several_of_a_kind_are_told_apart_by_their_hash(gathered):
    d4rl = result()["data"]
    folder = gathered(
        result(score=70.0, key="a", data=d4rl | {"source": "minari:mujoco/hopper/medium-v0", "sha256": "12" * 32}),
        result(score=80.0, key="b", data=d4rl | {"sha256": "34" * 32}),
        result(score=90.0, key="c", data=d4rl | {"sha256": "56" * 32}),
    )
    table = build_table([folder], TWO)
    assert {name for name, *_ in rows_of(table.split("### Data")[0], HOPPER)} == {
        f"{HOPPER} §", f"{HOPPER}, data 343434343434", f"{HOPPER}, data 565656565656"
    }  # fmt: skip
    assert "- §: on Minari's data" in table and "†" not in table


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
    with pytest.raises(MarkdownError, match="must have one line"):
        write_table(page, [gathered(result())], TWO)
    assert page.read_text() == text


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
    folder = gathered(result(method="uni-o4", score=57.0, clones=[50.0, 50.0], queries=queries), result())
    table = build_table([folder], TWO)
    assert "### The gate" in table
    assert rows_of(table, HOPPER)[1] == [HOPPER, "uni-o4, minutes", "4", "50%", "75%", "50.0", "60.0", "57.0", "80.0"]


def test_the_last_line_of_the_gates_table_is_of_all_queries(gathered):
    told, untold = query(100, 0, 1.0, 90.0, True), query(100, 0, -1.0, 90.0, False)
    folder = gathered(
        result(method="uni-o4", clones=[50.0], queries=[told, untold]),
        result(task=WALKER, method="uni-o4", clones=[50.0], queries=[untold]),
    )
    # hopper: told, then the candidate is as good as what it would replace; walker2d: untold
    assert rows_of(build_table([folder], TWO), "all") == [["all", "", "2", "50%", "50%", "", "", "", ""]]


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
    path = folder / "offline" / f"{HOPPER}.json"
    with pytest.raises(ResultsError, match=f"^{path}: the result with the key '.*': its queries of the gate are damaged"):
        build_table([folder], TWO)


def test_a_candidate_that_blew_up_told_no_sign():
    queries = [{"member": 0, "score": 20.0, "difference": difference, "accepted": False} for difference in (None, 1.0)]
    record = gate_record({"clones": [10.0], "score": 10.0, "queries": queries}, all_tasks()[HOPPER])
    assert (record.queries, record.agreed) == (2, 1)
