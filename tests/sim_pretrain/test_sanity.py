from dataclasses import fields

import numpy as np
import pytest

from sim_pretrain.environment import EnvironmentConfig, WalkingEnvironment
from sim_pretrain.reward import PenaltyWeights
from sim_pretrain.sanity import AGENTS, SanityError, Watched, refuse_dead_terms, watch
from twin.world import FLAT


def watched(**weights):
    environment = WalkingEnvironment(FLAT, EnvironmentConfig(num_robots=16, penalties=PenaltyWeights(**weights)), 0)
    try:
        return [one for agent in AGENTS for one in watch(environment, agent, 0, steps=30)]
    finally:
        environment.close()


TERMS = frozenset({field.name for field in fields(PenaltyWeights)} | {"reward", "track_lin_vel", "track_ang_vel"})


def test_every_reward_term_moves():
    refuse_dead_terms(watched(torque_gap=1e-3, joint_torque=1e-3), TERMS)


def test_a_term_that_never_moves_is_named():
    seen = watched(torque_gap=1e-3, power=0.0)
    refuse_dead_terms(seen, TERMS - {"power"})
    with pytest.raises(SanityError, match="'power' never moves"):
        refuse_dead_terms(seen, TERMS)


def test_a_term_that_the_environment_does_not_tell_of_is_named():
    with pytest.raises(SanityError, match="'power' has a weight, but the environment does not tell of it"):
        refuse_dead_terms([one for one in watched(torque_gap=1e-3) if one.name != "power"], TERMS)


def test_a_term_that_is_no_number_is_named():
    with pytest.raises(SanityError, match="'speed' is not a finite number"):
        refuse_dead_terms([Watched("zero", "speed", np.nan, 0.0)], frozenset())


def test_a_random_agent_is_worse_than_one_that_stands():
    rewards = {one.agent: one.mean for one in watched() if one.name == "reward"}
    assert rewards["random"] < rewards["zero"]
