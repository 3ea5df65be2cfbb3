import numpy as np

from robot.forward_commands import ForwardCommands


def test_commands_are_held_for_seconds_and_lie_within_their_range():
    plan = ForwardCommands(0.2, 0.8).draw(450, np.random.default_rng(0))
    speeds = [plan.command_at(step)[0] for step in range(450)]
    assert all(len(set(speeds[start : start + 200])) == 1 for start in (0, 200, 400)) and len(set(speeds)) == 3
    assert all(0.2 <= speed <= 0.8 for speed in speeds)
