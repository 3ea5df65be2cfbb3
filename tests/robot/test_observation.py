"""The observation frame, the gait clock and the history, against numbers worked out by hand and against the real robot's logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from robot import go1
from robot.command import at_rest, trot_command
from robot.observation import SLOT_17_TIMING, ObservationHistory, advance_gait, foot_phases, go1_layout, observe

HALF = np.sqrt(0.5)  # cos and sin of 45 degrees, half of a quarter turn


# --- layout


def test_layout_sizes_and_places() -> None:
    layout = go1_layout()
    assert (layout.frame_size, layout.history, layout.size) == (58, 5, 290)
    places = {name: layout.slice_of(name) for name in ("projected_gravity", "command/vx", "joint_pos", "joint_vel", "last_action", "clock")}
    starts = [(place.start, place.stop) for place in places.values()]
    assert starts == [(0, 3), (3, 4), (18, 30), (30, 42), (42, 54), (54, 58)]


def test_layout_scales() -> None:
    scales = go1_layout().scales
    assert scales[3:18].tolist() == [2, 2, 0.25, 2, 1, 1, 1, 1, 1, 0.15, 0.3, 0.3, 1, 1, 1]
    assert set(scales[30:42]) == {0.05}
    assert set(np.delete(scales, range(3, 18)).tolist()) == {1.0, 0.05}


def test_slot_17_has_two_meanings_only() -> None:
    assert go1_layout(SLOT_17_TIMING) != go1_layout()
    with pytest.raises(ValueError, match="slot 17"):
        go1_layout("something")


def test_a_term_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="no term 'height_scan'"):
        go1_layout().slice_of("height_scan")


# --- one frame


def frame_inputs(**changes: Any) -> dict[str, Any]:
    """A robot that stands in its default posture, told to trot forward at 0.5 m/s."""
    standing = {
        "gravity_b": np.array([0.0, 0.0, -1.0]), "command": trot_command(0.5), "joint_pos": go1.DEFAULT_JOINT_POS,
        "joint_vel": np.zeros(12), "last_action": np.zeros(12), "gait_index": np.array(0.0),
    }  # fmt: skip
    return standing | changes


def test_a_frame_by_hand() -> None:
    joint_pos = go1.DEFAULT_JOINT_POS.copy()
    joint_pos[0] += 0.25
    inputs = frame_inputs(joint_pos=joint_pos, joint_vel=np.full(12, 4.0), last_action=np.arange(12.0), gait_index=np.array(0.25))
    frame = observe(**inputs)
    assert frame.dtype == np.float32
    assert frame.shape == (58,)
    np.testing.assert_allclose(frame[:3], [0, 0, -1])
    # vx 0.5 x 2; 3 Hz; phase 0.5; duration 0.5; swing height 0.08 x 0.15; stance 0.33 x 0.40; slot 17 is zero.
    np.testing.assert_allclose(frame[3:18], [1, 0, 0, 0, 3, 0.5, 0, 0, 0.5, 0.012, 0, 0, 0.33, 0.40, 0], rtol=1e-6)
    np.testing.assert_allclose(frame[18:30], [0.25, *[0] * 11], atol=1e-7)
    np.testing.assert_allclose(frame[30:42], 0.2)  # 4 rad/s x 0.05
    np.testing.assert_allclose(frame[42:54], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10])  # clipped at 10
    assert observe(**inputs | {"last_action": -np.arange(12.0)})[50:54].tolist() == [-8, -9, -10, -10]
    np.testing.assert_allclose(frame[54:], [-1, 1, 1, -1], atol=1e-6)


def test_slot_17_carries_the_gait_index_where_the_layout_says_so() -> None:
    frame = observe(**frame_inputs(gait_index=np.array(0.375)), layout=go1_layout(SLOT_17_TIMING))
    assert frame[17] == 0.375
    assert observe(**frame_inputs(gait_index=np.array(0.375)))[17] == 0.0


def test_a_batch_equals_its_members() -> None:
    random = np.random.default_rng(0)
    sizes = {"gravity_b": (3,), "command": (15,), "joint_pos": (12,), "joint_vel": (12,), "last_action": (12,), "gait_index": ()}
    batch = {name: random.uniform(0.1, 0.9, (4, 3, *size)) for name, size in sizes.items()}
    frames = observe(**batch)
    assert frames.shape == (4, 3, 58)
    assert np.array_equal(frames[2, 1], observe(**{name: values[2, 1] for name, values in batch.items()}))


# --- the gait clock


@pytest.mark.parametrize(
    ("gait_index", "clock"),
    [
        # A trot moves the diagonals FL + RR and FR + RL half a cycle apart: FL and RR have g + 0.5.
        (0.0, (0, 0, 0, 0)),
        (0.125, (-HALF, HALF, HALF, -HALF)),
        (0.25, (-1, 1, 1, -1)),
        (0.75, (1, -1, -1, 1)),
    ],
)
def test_clock_of_a_trot(gait_index: float, clock: tuple[float, ...]) -> None:
    np.testing.assert_allclose(observe(**frame_inputs(gait_index=np.array(gait_index)))[54:], clock, atol=1e-6)


def test_phases_offsets_by_foot() -> None:
    command = trot_command()
    command[5:8] = (0.1, 0.2, 0.4)  # phase, offset, bound
    # FL g + 0.1 + 0.2 + 0.4, FR g + 0.2, RL g + 0.4, RR g + 0.1, at g = 0.05
    np.testing.assert_allclose(foot_phases(np.array(0.05), command), [0.75, 0.25, 0.45, 0.15])


def test_a_longer_stance_is_stretched_over_half_the_phase() -> None:
    command = trot_command()
    command[5:9] = (0.0, 0.0, 0.0, 0.8)
    assert foot_phases(np.array(0.4), command)[0] == pytest.approx(0.25)  # half of the stance
    assert foot_phases(np.array(0.9), command)[0] == pytest.approx(0.75)  # half of the swing


@pytest.mark.parametrize(("duration", "phase"), [(0.0, 0.6997), (1.0, 0.2002), (-3.0, 0.6997), (7.0, 0.2002)])
def test_a_stance_of_all_or_nothing_or_beyond_is_held_within_the_cycle(duration: float, phase: float) -> None:
    command = trot_command()
    command[5:9] = (0.0, 0.0, 0.0, duration)
    # a share of 0.001: 0.5 + 0.5 (0.4 - 0.001) / 0.999; a share of 0.999: 0.5 x 0.4 / 0.999
    assert foot_phases(np.array(0.4), command)[0] == pytest.approx(phase, abs=1e-5)


def test_a_robot_at_rest_is_told_neither_to_walk_nor_to_turn_and_the_rest_stays() -> None:
    command = trot_command(0.5, -0.2, 0.3)
    still = at_rest(command)
    assert still[:3].tolist() == [0.0, 0.0, 0.0] and command[:3].tolist() == [0.5, -0.2, 0.3]
    assert still[3:].tolist() == command[3:].tolist()


def test_gait_advances_by_frequency_and_wraps() -> None:
    command = trot_command()
    assert advance_gait(np.array(0.5), command) == pytest.approx(0.56)  # 3 Hz x 0.02 s
    assert advance_gait(np.array(0.97), command) == pytest.approx(0.03)


# --- the history


def test_history_is_zero_before_the_first_frame_and_oldest_first() -> None:
    history = ObservationHistory()
    first = history.push(np.full(58, 1.0, dtype=np.float32)).copy()
    assert first[:, 0].tolist() == [0, 0, 0, 0, 1]
    for value in (2.0, 3.0, 4.0, 5.0, 6.0):
        newest = history.push(np.full(58, value, dtype=np.float32))
    assert newest[:, 57].tolist() == [2, 3, 4, 5, 6]
    assert newest.dtype == np.float32


def test_only_the_selected_robots_forget() -> None:
    history = ObservationHistory((3,))
    history.push(np.ones((3, 58), dtype=np.float32))
    history.reset(np.array([False, True, False]))
    assert history.frames[:, -1, 0].tolist() == [1, 0, 1]
    history.reset()
    assert not history.frames.any()


def test_a_batch_of_histories_equals_single_ones() -> None:
    frames = np.random.default_rng(0).normal(size=(7, 2, 58)).astype(np.float32)
    together, alone = ObservationHistory((2,)), ObservationHistory()
    for frame in frames:
        batch, single = together.push(frame), alone.push(frame[1])
    assert np.array_equal(batch[1], single)


# --- the real robot


def elu_network(weights: Any, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean action of a released policy: linear layers with ELU between them."""
    values = inputs
    for layer in range(4):
        values = values @ weights[f"layer{layer}.weight"].T + weights[f"layer{layer}.bias"]
        if layer < 3:
            values = np.where(values > 0, values, np.expm1(np.minimum(values, 0)))
    return values


@pytest.mark.parametrize(("recording", "policy"), [("20230808-205726", "sim_000200"), ("20230808-211516", "sim_000300")])
def test_history_reproduces_what_the_real_policy_did(real_data: Path, recording: str, policy: str) -> None:
    folder = real_data / "go1_mattress"
    with h5py.File(folder / "logs" / recording / f"{recording}.hdf5") as file:
        frames, actions = file["states"][:, :58].astype(np.float32), file["actions"][()]
    # The first action answered an entirely zero history; the second row is the first frame that the history holds.
    history = ObservationHistory()
    histories = [history.frames.reshape(290).copy()] + [history.push(frame).reshape(290).copy() for frame in frames[1:]]
    with np.load(folder / "policies" / f"{policy}.npz", allow_pickle=False) as file:
        means = elu_network(file, np.array(histories))
    assert np.square(np.clip(means, -10, 10) - actions).mean() < 1e-6
