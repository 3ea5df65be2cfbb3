"""Bins of commanded speed: each has its lower edge, the last its upper one too."""

import numpy as np

from robot.speed_bins import SPEED_BINS, speed_bin


def test_edges_belong_to_the_bin_above_and_the_last_one_to_its_own():
    commanded = np.array([-1.0, 0.0, 0.19, 0.2, 0.49, 0.5, 1.0, 1.5, 2.0, 2.01, np.nan, np.inf])
    assert speed_bin(commanded).tolist() == [-1, -1, -1, 0, 0, 1, 2, 3, 3, -1, -1, -1]
    assert speed_bin(commanded.astype(np.float32)).tolist() == speed_bin(commanded).tolist()


def test_bins_follow_one_another():
    assert [low for low, _ in SPEED_BINS[1:]] == [high for _, high in SPEED_BINS[:-1]]
