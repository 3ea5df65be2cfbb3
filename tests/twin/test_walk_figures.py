from dataclasses import replace

import numpy as np
import pytest

from tests.twin.walks import UP, walk
from twin.walk_figures import FIGURES, fallen_within, figures_by_session, figures_of, summary, sums_of


def test_figures_by_hand():
    slow = replace(walk(100, 0.3, speed=[0.1] * 50 + [0.3] * 25 + [np.nan] * 25), fell=True)
    tilted = np.tile(UP, (100, 1))
    tilted[::2, 1], tilted[::2, 2] = np.sin(0.2), -np.cos(0.2)  # a roll of 0.2 rad in every other step
    fast = replace(walk(100, 2.0, speed=[0.5] * 100), gravity_b=tilted)
    figures = dict(zip(FIGURES, figures_of(sums_of(slow) + sums_of(fast)), strict=True))
    assert figures["speed_0.2_0.5"] == pytest.approx((50 * 0.1 + 25 * 0.3) / 75)
    assert np.isnan(figures["speed_0.5_1"])
    assert figures["speed_1.5_2"] == pytest.approx(0.5)
    assert figures["root_falls"] == pytest.approx(np.sqrt(500))
    # 125 upright steps (75 before the fall do not count), 50 of them rolled: variance 0.4 * 0.04 - (0.4 * 0.2)^2
    assert figures["roll"] == pytest.approx(np.sqrt(0.016 - 0.0064))
    assert figures["pitch"] == pytest.approx(0.0, abs=1e-9)
    said = summary([slow, fast])
    assert said["falls_per_100k_steps"] == 500
    assert said["speed_by_command"]["0.5-1"]["mean"] is None


def test_the_probability_of_a_fall_by_hand():
    """Kaplan and Meier: of three walks one falls after 1 s, one is cut off after 2 s, one falls after 3 s."""
    walks = [replace(walk(50), fell=True), walk(100), replace(walk(150), fell=True)]
    assert fallen_within(walks, 0.5) == 0
    assert fallen_within(walks, 1.0) == pytest.approx(1 / 3)
    assert fallen_within(walks, 2.5) == pytest.approx(1 / 3)
    assert fallen_within(walks, 3.0) == pytest.approx(1.0)  # the last one that could be seen to fall did


def test_no_fall_at_all_is_known_as_well_as_chance_allows():
    never = [walk(100, 0.3, speed=[0.2] * 100, session=name) for name in "abc"]
    assert figures_by_session(never, 100, 0)[1][FIGURES.index("root_falls")] == pytest.approx(0.5 * np.sqrt(1e5 / 300))


def test_sessions_that_differ_make_figures_uncertain():
    alike = [walk(100, 0.3, speed=[0.2] * 100, session=name) for name in "abc"]
    differ = [walk(100, 0.3, speed=[speed] * 100, session=name) for name, speed in zip("abc", (0.0, 0.2, 0.4), strict=True)]
    assert figures_by_session(alike, 200, 0)[1][0] == pytest.approx(0.0, abs=1e-9)
    figures, errors = figures_by_session(differ, 2000, 0)
    assert figures[0] == pytest.approx(0.2)
    assert errors[0] == pytest.approx(np.std([0.0, 0.2, 0.4]) / np.sqrt(3), rel=0.1)
