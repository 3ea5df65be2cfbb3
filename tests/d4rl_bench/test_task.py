"""The tasks: names, reference scores, protocol and settings as published."""

import pytest

from d4rl_bench.offline import config_of
from d4rl_bench.task import TaskError, all_tasks, find_task


def test_the_26_tasks_of_the_papers_tables_are_there():
    families = [task.family for task in all_tasks().values()]
    assert {family: families.count(family) for family in set(families)} == {"locomotion": 9, "adroit": 8, "kitchen": 3, "antmaze": 6}


@pytest.mark.parametrize(
    ("name", "episode_return", "score"),
    [
        ("hopper-medium-v2", -20.272305, 0.0), ("hopper-medium-v2", 3234.3, 100.0), ("walker2d-medium-v2", 2296.964504, 50.0),
        ("halfcheetah-medium-v2", 12135.0, 100.0), ("door-human-v1", 2880.5693087298737, 100.0), ("door-human-v1", -56.512833, 0.0),
        ("antmaze-umaze-v2", 0.75, 75.0), ("kitchen-mixed-v0", 2.0, 50.0),
    ],
)  # fmt: skip
def test_scores_are_d4rls(name, episode_return, score):
    assert find_task(name).score(episode_return) == pytest.approx(score, abs=1e-6)


def test_the_version_may_be_left_out_and_a_wrong_name_is_answered_with_the_nearest():
    assert find_task("door-human") is find_task("door-human-v1")
    with pytest.raises(TaskError, match="no task 'hoper-medium'; did you mean hopper-medium"):
        find_task("hoper-medium")


def test_the_quoted_scores_add_up_to_the_papers_totals():
    tasks = all_tasks().values()
    totals = {
        family: sum(task.quoted["Uni-O4"] for task in tasks if task.family == family) for family in ("locomotion", "adroit", "kitchen")
    }
    assert totals == {"locomotion": pytest.approx(816.4), "adroit": pytest.approx(288.6), "kitchen": pytest.approx(216.9)}


def test_settings_differ_by_family_as_in_table_5():
    medium, expert, door, maze = (
        config_of(find_task(name), "paper", {}).uni_o4
        for name in ("hopper-medium-v2", "hopper-medium-expert-v2", "door-human-v1", "antmaze-large-play-v2")
    )
    assert [config.iql.expectile for config in (medium, expert, door, maze)] == [0.7, 0.5, 0.7, 0.9]
    assert [config.learning_rate for config in (medium, expert, door, maze)] == [1e-4, 1e-4, 1e-5, 1e-5]
    assert [config.gate.horizon for config in (medium, expert, door, maze)] == [1000, 1000, 200, 150]
    assert config_of(find_task("hopper-medium-v2"), "minutes", {}).uni_o4.gate.horizon == 20  # the paper's H is for the paper's preset
    assert medium.iql.q_hidden == (1024, 1024) and medium.iql.steps == 2_000_000 and medium.iql.n_step == 1
    assert medium.dynamics.hidden == (200,) * 4 and door.dynamics.hidden == (400,) * 4
    assert find_task("antmaze-umaze").evaluation_episodes == 50 and find_task("door-human").evaluation_episodes == 10


def test_overrides_reach_the_settings_and_a_wrong_one_is_named():
    assert config_of(find_task("hopper-medium"), "minutes", {"uni_o4.members": 1, "cloning.steps": 7}).uni_o4.members == 1
    with pytest.raises(Exception, match=r"unknown key 'uni_o4\.member'"):
        config_of(find_task("hopper-medium"), "minutes", {"uni_o4.member": 1})
