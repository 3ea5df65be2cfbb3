"""The gate's paired decision by hand, and everything that it must refuse."""

import math

import pytest
import torch

from learners.gate import PAPER, GateConfig, decide

INCUMBENT = torch.tensor([100.0, -50.0, 3.0, 900.0])  # start states differ far more than the policies do
CONFIG = GateConfig(confidence_z=1.2816, max_kl=0.5)


def decide_on(*differences, kl=0.1, config=CONFIG):
    return decide(INCUMBENT + torch.tensor(differences), INCUMBENT, kl, config)


def test_a_clear_gain_is_accepted_with_its_figures():
    # differences 1, 2, 3, 2: mean 2, std sqrt(2/3) = 0.8164966, standard error 0.8164966 / 2
    decision = decide_on(1.0, 2.0, 3.0, 2.0)
    assert decision.accepted
    assert decision.difference == pytest.approx(2.0, abs=1e-4)
    assert decision.standard_error == pytest.approx(0.4082483, abs=1e-4)
    assert decision.kl == 0.1


def test_a_gain_within_the_noise_is_refused_but_the_papers_rule_takes_it():
    # mean 0.5; squared deviations 6.25, 2.25, 2.25, 6.25: std sqrt(17/3) = 2.3804761, error 1.1902381, bar 1.2816 * 1.19 = 1.525
    differences = (3.0, -1.0, 2.0, -2.0)
    assert not decide_on(*differences).accepted
    assert decide_on(*differences, config=PAPER).accepted


def test_a_gain_just_above_and_just_below_the_bar():
    # mean m with deviations -+1: std sqrt(4/3) = 1.1547005, error 0.5773503, bar 0.7399
    assert not decide_on(-0.27, 1.73, -0.27, 1.73).accepted  # mean 0.73
    assert decide_on(-0.25, 1.75, -0.25, 1.75).accepted  # mean 0.75


def test_a_loss_is_refused():
    assert not decide_on(-1.0, -1.0, -1.0, -1.0, config=PAPER).accepted


def test_no_difference_is_no_gain():
    decision = decide_on(0.0, 0.0, 0.0, 0.0, config=PAPER)
    assert decision.difference == decision.standard_error == 0.0
    assert not decision.accepted


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("config", [CONFIG, PAPER])
def test_one_broken_estimate_refuses(broken, config):
    assert not decide_on(1.0, 2.0, broken, 2.0, config=config).accepted


@pytest.mark.parametrize(("kl", "accepted"), [(0.0, True), (0.5, True), (0.501, False), (math.inf, False), (math.nan, False)])
def test_a_candidate_too_far_from_the_start_is_refused(kl, accepted):
    assert decide_on(1.0, 2.0, 3.0, 2.0, kl=kl).accepted is accepted


def test_without_a_budget_no_distance_is_too_far():
    config = GateConfig(confidence_z=0.0, max_kl=None)
    assert decide(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 1.0]), 1e9, config).accepted
