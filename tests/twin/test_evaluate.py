import numpy as np
import pytest

from common.errors import QuadloopError
from robot import go1
from robot.observation import GO1_LAYOUT
from twin.batch import BatchTwin
from twin.evaluate import evaluate, straight_command
from twin.walkers import Walkers
from twin.world import FLAT

STILL = straight_command(0.0)
TOPPLE = np.array([20.0, 0.0, 0.0] * 4)  # every hip to the left, beyond what a Go1 can stand on


class Constant:
    """Answers every observation with one action; remembers what it was shown."""

    def __init__(self, action=0.0):
        self.action = np.broadcast_to(np.asarray(action, dtype=np.float32), 12)
        self.seen = []

    def act(self, observation_history):
        self.seen.append(observation_history.copy())
        return np.tile(self.action, (len(observation_history), 1)), np.full(12, 0.3, dtype=np.float32)


class Backwards(Constant):
    """A trot that goes backwards and turns, by the clock."""

    def act(self, observation_history):
        phase = 2 * np.pi * (0.06 * len(self.seen) + np.array([0.0, 0.5, 0.5, 0.0]))
        thighs = 0.8 * np.cos(phase) * [0.3, 1.0, 0.3, 1.0]
        self.action = np.stack([np.zeros(4), thighs, 2.0 * np.minimum(0.0, np.sin(phase))], axis=1).astype(np.float32).ravel()
        return super().act(observation_history)


def states_of(policy, trials, seed, steps):
    """Those of the robots of `evaluate`, before the first step and after each."""
    rng = np.random.default_rng(seed)
    with BatchTwin(FLAT, trials, rng=rng) as twin:
        twin.reset(np.ones(trials, dtype=bool), rng)
        targets = [go1.joint_pos_target_of(policy.act(np.zeros((trials, 290), dtype=np.float32))[0]) for _ in range(steps)]
        return [twin.read(), *(twin.step(target)[0] for target in targets)]


def yaw_of(state):
    w, x, y, z = state.quaternion_wxyz.T
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def test_standing_still_when_told_to_earns_nearly_everything():
    # 0.03 a step is the most there is; the first steps settle the robot on its feet.
    trials = evaluate(Constant(), FLAT, STILL, trials=3, seed=0, steps=100)
    assert not trials.fell.any()
    assert trials.lengths.tolist() == [100] * 3
    assert (trials.returns > 0.85 * 3.0).all()
    assert (trials.returns < 3.0).all()
    assert np.abs(trials.forward_speed).max() < 0.05


def test_speed_and_its_error_are_measured_against_the_command():
    # A robot that is never faster than its command falls behind by the difference.
    trials = evaluate(Backwards(), FLAT, straight_command(1.0), trials=3, seed=0, steps=100)
    assert (trials.forward_speed < -0.1).all()
    assert trials.forward_speed_error == pytest.approx(1.0 - trials.forward_speed, abs=1e-9)


def test_a_trial_is_measured_by_where_the_robot_went_and_by_what_its_motors_did():
    trials = evaluate(Backwards(), FLAT, STILL, trials=3, seed=0, steps=100)
    states = states_of(Backwards(), trials=3, seed=0, steps=100)
    yaw = np.unwrap([yaw_of(state) for state in states], axis=0)
    moved = np.diff([state.base_pos_w[:, 0] + 1j * state.base_pos_w[:, 1] for state in states], axis=0) * np.exp(-1j * yaw[1:])
    assert (moved.sum(axis=0).real < -0.2).all() and (np.abs(yaw[-1] - yaw[0]) > 0.1).any()
    assert trials.distance == pytest.approx(moved.sum(axis=0).real, abs=0.03)
    assert trials.forward_speed == pytest.approx(moved.sum(axis=0).real / 2.0, abs=0.015)
    assert trials.sideways_speed == pytest.approx(moved.sum(axis=0).imag / 2.0, abs=0.015)
    assert trials.turning_rate == pytest.approx((yaw[-1] - yaw[0]) / 2.0, abs=0.03)
    torque, speed = (np.array([getattr(state, name) for state in states[1:]]) for name in ("joint_torque", "joint_vel"))
    assert trials.torque == pytest.approx(np.sqrt((torque**2).mean(axis=(0, 2)))) and (trials.torque > 3.0).all()
    assert trials.power == pytest.approx(np.abs(torque * speed).sum(axis=2).mean(axis=0)) and (trials.power > 20.0).all()


def test_a_robot_that_stands_needs_the_torque_against_its_weight_and_no_power():
    trials = evaluate(Constant(0.1), FLAT, STILL, trials=3, seed=0, steps=100)
    assert (trials.torque > 2.0).all() and (trials.torque < 6.0).all()
    assert (trials.power < 5.0).all()
    assert trials.action_rate == pytest.approx(12 * 0.01 / 100)  # it changes once, at the first step


def test_summary_is_what_machines_are_promised():
    summary = evaluate(Constant(), FLAT, STILL, trials=4, seed=0, steps=20).summary(20)
    assert set(summary) == {
        "trials", "steps", "return", "forward_speed", "forward_speed_error", "sideways_speed", "turning_rate", "distance",
        "gait_frequency", "duty_factor", "torque", "power", "action_rate", "falls",
    }  # fmt: skip
    assert (summary["trials"], summary["steps"], summary["falls"]) == (4, 20, 0)
    low, high = summary["return"]["ci95"]
    assert low <= summary["return"]["mean"] <= high


def test_the_seed_decides():
    first, again, other = (evaluate(Constant(), FLAT, STILL, trials=3, seed=seed, steps=30) for seed in (1, 1, 2))
    assert first.returns.tolist() == again.returns.tolist()
    assert first.returns.tolist() != other.returns.tolist()


def test_nothing_is_earned_after_a_fall():
    short, long = (evaluate(Constant(TOPPLE), FLAT, STILL, trials=3, seed=0, steps=steps) for steps in (150, 300))
    assert short.fell.all()
    assert (short.lengths < 150).all()
    assert short.lengths.tolist() == long.lengths.tolist()
    assert short.returns.tolist() == long.returns.tolist()
    assert short.distance.tolist() == long.distance.tolist()


def test_one_robots_fall_does_not_end_the_others_trial():
    class OneTopples(Constant):
        def act(self, observation_history):
            mean, std = super().act(observation_history)
            mean[1] = np.clip(TOPPLE, -10, 10)
            return mean, std

    trials = evaluate(OneTopples(), FLAT, STILL, trials=2, seed=0, steps=150)
    assert trials.fell.tolist() == [False, True]
    assert trials.lengths[0] == 150


def test_the_policy_sees_its_own_clipped_action_and_an_empty_past():
    policy = Constant(np.array([25.0] + [0.0] * 11))
    evaluate(policy, FLAT, STILL, trials=1, seed=0, steps=2)
    first, second = (seen.reshape(5, 58) for seen in policy.seen)
    assert not first[:4].any()
    last_action = GO1_LAYOUT.slice_of("last_action")
    assert not first[4, last_action].any()
    assert second[3].tolist() == first[4].tolist()
    assert second[4, last_action].tolist() == [10.0] + [0.0] * 11


def test_walkers_reset_forgets_only_what_it_is_told_to():
    with BatchTwin(FLAT, 2) as twin:
        walkers = Walkers(twin, np.tile(STILL, (2, 1)))
        walkers.reset(np.ones(2, dtype=bool), np.random.default_rng(0))
        walkers.observe()
        walkers.act(np.ones((2, 12)))
        walkers.observe()
        walkers.reset(np.array([True, False]), np.random.default_rng(0))
        assert not walkers.history.frames[0].any()
        assert walkers.history.frames[1, 3:].any(axis=-1).all()
        assert walkers.gait_index.tolist() == pytest.approx([0.0, 0.06])  # 3 Hz for 0.02 s
        assert walkers.last_action[:, 0].tolist() == [0.0, 1.0]
        assert np.abs(walkers.state.joint_pos[0] - go1.DEFAULT_JOINT_POS).max() <= 0.05


@pytest.mark.parametrize("speeds", [(), (0.1, 0.1, 0.1, 0.1), (float("nan"),), (5.1,), (0.5, float("-inf"))])
def test_commands_that_no_go1_can_be_given(speeds):
    with pytest.raises(QuadloopError):
        straight_command(*speeds)


@pytest.mark.parametrize(("trials", "steps"), [(0, 10), (1, 0)])
def test_an_evaluation_of_nothing_is_refused(trials, steps):
    with pytest.raises(QuadloopError, match="at least one"):
        evaluate(Constant(), FLAT, STILL, trials, seed=0, steps=steps)


def test_a_released_policy_walks_unchanged(real_data, tmp_path):
    from offline_finetune.released.policies import import_policy

    source = real_data / "go1_mattress" / "policies" / "sim_000300.npz"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    artifact = import_policy(source, tmp_path / "sim_000300.onnx")
    for speed in (0.5, 1.0):
        trials = evaluate(artifact, FLAT, straight_command(speed), trials=5, seed=0, steps=500, layout=artifact.metadata.layout)
        assert not trials.fell.any()
        assert trials.forward_speed.mean() == pytest.approx(speed, rel=0.2)
