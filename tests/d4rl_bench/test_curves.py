"""Learning curves as a picture."""

import sys

import pytest

from d4rl_bench.curves import band, plot_curves
from tests.d4rl_bench.made_results import WALKER, result


def test_curves_are_drawn(tmp_path, gathered):
    pytest.importorskip("matplotlib")
    folder = gathered(
        *(result(seed=seed, curve=[[0, 1.0], [500 + seed, 2.0], [1000, 3.0]]) for seed in range(3)),
        result(task=WALKER, method="bc", curve=[]),
        result(phase="online", method="scratch"),
    )
    assert plot_curves([folder], tmp_path / "curves.png") is None
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_policy_that_the_gate_leaves_as_it_is_goes_on_in_the_band():
    curves = [[(0, 1.0), (100, 3.0)], [(0, 2.0)]]
    steps, mean, _ = band(curves, goes_on=True)
    assert steps.tolist() == [0, 100] and mean.tolist() == [1.5, 2.5]
    steps, mean, _ = band(curves, goes_on=False)
    assert steps.tolist() == [0] and mean.tolist() == [1.5]


def test_without_a_curve_or_without_matplotlib_there_is_no_picture(tmp_path, gathered, monkeypatch):
    for curve in ([], [[0, 30.0]]):
        assert "no result has a curve" in plot_curves([gathered(result(curve=curve))], tmp_path / "curves.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "quadloop[viz]" in plot_curves([gathered(result())], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
