"""Data sets after D4RL's recipe, on a small budget."""

from dataclasses import replace

import numpy as np
import pytest

from common.errors import QuadloopError
from d4rl_bench.d4rl_file import read_d4rl
from d4rl_bench.make_data import MakeConfig, make_data
from d4rl_bench.task import find_task
from learners.ppo import PpoConfig

SMALL = MakeConfig(steps=1000, medium_share=0.2)
SMALL = replace(
    SMALL,
    training=replace(
        SMALL.training, steps=4096, environments=2, steps_per_update=512, evaluate_every=1024, ppo=PpoConfig(epochs=2, minibatches=2)
    ),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return folder, make_data("hopper", folder, SMALL, 0, lambda *_: None)


def test_three_data_sets_are_written_and_can_be_read_as_d4rls(made):
    folder, record = made
    sizes = {
        kind: len(read_d4rl(folder / f"hopper-{kind}-v2.hdf5", find_task(f"hopper-{kind}")))
        for kind in ("medium", "medium-replay", "medium-expert")
    }
    assert sizes == {"medium": 1000, "medium-replay": record["policies"]["medium"]["steps"], "medium-expert": 2000}
    assert {kind: record["data"][kind]["rows"] for kind in sizes} == sizes
    assert (folder / "hopper.json").exists()


def test_the_medium_policy_is_the_first_that_earns_its_share(made):
    _, record = made
    scores = dict(record["curve"])
    medium, expert = record["policies"]["medium"], record["policies"]["expert"]
    assert expert["score"] == max(scores.values()) and scores[medium["steps"]] == medium["score"]
    assert medium["steps"] >= 1000 and medium["score"] >= 0.2 * expert["score"]


def test_steps_follow_one_another_and_episodes_do_not_leak(made):
    folder, _ = made
    data = read_d4rl(folder / "hopper-medium-v2.hdf5", find_task("hopper-medium"))
    ended = data.terminated | data.truncated
    np.testing.assert_array_equal(data.next_observations[:-1][~ended[:-1]], data.observations[1:][~ended[:-1]])
    assert ended[-1] and not (data.terminated & data.truncated).any()
    np.testing.assert_array_equal(data.episode_starts, np.concatenate([[0], np.flatnonzero(ended)[:-1] + 1]))
    assert np.abs(data.actions).max() <= 1.0


def test_nothing_is_overwritten_and_unknown_environments_are_refused(made, tmp_path):
    with pytest.raises(QuadloopError, match="exists"):
        make_data("hopper", made[0], SMALL, 0, lambda *_: None)
    with pytest.raises(QuadloopError, match="data can be made for halfcheetah, hopper, walker2d, not for 'ant'"):
        make_data("ant", tmp_path, SMALL, 0, lambda *_: None)
