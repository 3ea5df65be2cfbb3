"""Whether a policy is quick enough, by a clock that its acts move."""

import time
from types import SimpleNamespace

import pytest

from robot.policy import speed
from robot.policy.speed import ACTS, MAX_ACT_S, SlowPolicyError, require_quick
from robot.still_driver import StillPolicy


class TimedPolicy(StillPolicy):
    """Whose acts take the times `acts_s`, one after another."""

    def __init__(self, monkeypatch, acts_s):
        super().__init__()
        self.now, self._acts_s, self.seen = 0.0, iter(acts_s), []
        monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def act(self, observation_history, /):
        self.seen.append(observation_history.shape)
        self.now += next(self._acts_s)
        return super().act(observation_history)


@pytest.mark.parametrize("first_s", [0.0, 1.0])
def test_the_median_of_the_acts_counts_and_not_the_first(monkeypatch, first_s):
    half = ACTS // 2
    policy = TimedPolicy(monkeypatch, [first_s] + [1.0] * half + [MAX_ACT_S * 0.999] * (half + 1))
    require_quick(policy)
    assert policy.seen == [(5, 58)] * (ACTS + 1)


def test_a_slow_one_is_refused_in_one_line(monkeypatch):
    half = ACTS // 2
    with pytest.raises(SlowPolicyError, match=r"the policy takes 12 ms for an answer on this computer, more than 8 ms of 20") as error:
        require_quick(TimedPolicy(monkeypatch, [0.0] * (half + 1) + [0.012] * (half + 1)))
    assert "\n" not in str(error.value)


def test_a_real_policy_is_quick_and_so_is_asking(write_policy):
    policy, begun_s = write_policy(), time.perf_counter()
    require_quick(policy)
    assert time.perf_counter() - begun_s < 1.0
