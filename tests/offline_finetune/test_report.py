"""The page that says whether a new policy is better, on evidence made by hand."""

import sys

import pytest

from offline_finetune.dataset import MISSED_PERIOD, NO_HISTORY, VELOCITY_GLITCH
from offline_finetune.report import judgement, verdict, with_judgements, write_report

OLD, NEW = "a" * 64, "b" * 64
SIX = tuple(f"session_{number}" for number in range(6))


def estimate(low, high):
    return {"old": 0.0101, "new": 0.0121, "difference": (low + high) / 2, "ci95": [low, high], "unit": "rewards"}


def walk(mean, falls):
    figure = {"mean": mean, "ci95": [mean - 0.25, mean + 0.25]}
    return {"trials": 20, "steps": 1000, "return": figure, "forward_speed": figure, "forward_speed_error": figure, "falls": falls}


def decision(step, accepted):
    difference = 1.5 if accepted else -0.5
    return {"step": step, "member": 0, "difference": difference, "standard_error": 0.2, "kl": step / 1000, "accepted": accepted}


def evidence(amq=(0.1, 0.3), fqe=(0.1, 0.3), holdout=SIX, accepted_steps=100):
    return {
        "policy": "policy.onnx", "policy_sha256": NEW, "parent_sha256": OLD, "kl_from_parent": 0.125, "seconds": 61.0,
        "estimates": {"amq": estimate(*amq), "fqe": estimate(*fqe)},
        "gate": {
            "accepted": 1, "rejected": 1, "chosen_member": 0, "accepted_steps": accepted_steps, "average": None,
            "advantage_test": {"correlation": 0.0634, "z": 8.04, "episodes": 209},
            "decisions": [decision(100, True), decision(200, False)],
        },
        "data": {
            "sessions": ["session_a", "unusable", *holdout], "train_sessions": ["session_a"],
            "holdout_by": "session", "holdout_sessions": list(holdout),
            "episodes": 30, "steps": 12_345, "train_steps": 10_000,
            "holdout_steps": 2_000, "falls": 7, "falls_without_velocity": 1,
            "dropped": {NO_HISTORY: 5, VELOCITY_GLITCH: 339, MISSED_PERIOD: 3, "rain": 1},
        },
        "twin": {"terrain": "mattress", "old": {"0.5": walk(9.5, 8)}, "new": {"0.5": walk(12.5, 0)}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("amq", "fqe", "words"),
    [
        ((0.1, 0.3), (0.2, 0.4), "All 2 estimates say that the new policy is better"),
        ((-0.3, -0.1), (-0.4, -0.2), "All 2 estimates say that the new policy is worse"),
        ((-0.1, 0.3), (-0.2, 0.4), "No estimate can tell"),
        ((0.1, 0.3), (-0.2, 0.4), "1 of 2 estimates say that the new policy is better; the rest cannot tell"),
        ((-0.1, 0.3), (-0.4, -0.2), "1 of 2 estimates say that the new policy is worse; the rest cannot tell"),
        ((0.1, 0.3), (-0.4, -0.2), "contradict each other"),
    ],
)
def test_the_verdict_in_plain_words(amq, fqe, words):
    assert words in verdict(evidence(amq, fqe))


def test_importance_that_rests_on_too_little_is_not_heard(tmp_path):
    far = evidence()
    far["estimates"]["wis"] = estimate(0.1, 0.3) | {"effective_share": 0.0004}
    assert "2 of 3 estimates say that the new policy is better" in verdict(far)
    assert "rests on 0.04% of the stretches" in write_report(tmp_path, far).read_text()
    far["estimates"]["wis"]["effective_share"] = 0.3
    assert "All 3 estimates say that the new policy is better" in verdict(far)
    assert "of the stretches" not in write_report(tmp_path, far).read_text()


def test_fitted_q_that_diverged_is_not_heard(tmp_path):
    wild = evidence()
    wild["estimates"]["fqe"] |= {"old": 136_324.0, "new": -133_473.0, "ci95": None, "diverged": True}
    assert "1 of 2 estimates say that the new policy is better; the rest cannot tell" in verdict(wild)
    page = write_report(tmp_path, wild).read_text()
    assert "Fitted-Q evaluation has diverged" in page
    assert "(no interval)" in page


def test_an_estimate_that_is_no_number_is_not_heard(tmp_path):
    torn = evidence() | {"kl_from_parent": None}
    torn["estimates"]["amq"] |= dict.fromkeys(("old", "new", "difference"), None) | {"ci95": [None, None]}
    torn["estimates"]["wis"] = estimate(0.1, 0.3) | {"effective_share": None}
    assert "1 of 3 estimates say that the new policy is better; the rest cannot tell" in verdict(torn)
    page = write_report(tmp_path, torn).read_text()
    assert "<td>-</td><td>-</td><td>- (no interval)</td><td>cannot tell</td>" in page
    assert "a KL of - nats" in page


def test_machines_are_told_what_people_are():
    far = evidence()
    far["estimates"]["wis"] = estimate(0.1, 0.3) | {"effective_share": 0.0004}
    told = with_judgements(far)
    assert told["verdict"] == "2 of 3 estimates say that the new policy is better; the rest cannot tell."
    assert {name: each["judgement"] for name, each in told["estimates"].items()} == {"amq": "better", "fqe": "better", "wis": "cannot tell"}
    assert told["estimates"]["wis"]["ci95"] == [0.1, 0.3]


def test_a_gate_that_accepted_nothing_has_changed_nothing():
    assert "Nothing has changed" in verdict(evidence(accepted_steps=0))


def test_logs_that_do_not_show_which_actions_are_better(tmp_path):
    assert (
        "correlate by 0.063 where state and time are the same: 8.0 standard errors above none"
        in write_report(tmp_path, evidence()).read_text()
    )
    untold = evidence(accepted_steps=0)
    untold["gate"] |= {"advantage_test": {"correlation": -0.002, "z": -0.31, "episodes": 41}, "decisions": [], "accepted": 0, "rejected": 0}
    assert verdict(untold).startswith("Nothing has changed: the logs do not show which actions are better")
    assert "That is too little to change anything" in write_report(tmp_path, untold).read_text()
    for correlation in (0.0, None):
        untold["gate"]["advantage_test"] = {"correlation": correlation, "z": None, "episodes": 1}
        assert "returns cannot be compared: there are too few" in write_report(tmp_path, untold).read_text()


def test_an_interval_of_one_session_is_none():
    one = evidence(holdout=("session_0",))
    assert judgement(one["estimates"]["amq"], one["data"]) == "cannot tell"
    assert "No estimate can tell" in verdict(one)


def test_few_sessions_are_called_few(tmp_path):
    assert "Sessions held out: 2. So few tell little" in write_report(tmp_path, evidence(holdout=SIX[:2])).read_text()
    assert "So few" not in write_report(tmp_path, evidence()).read_text()


def test_an_estimate_without_an_interval_decides_nothing(tmp_path):
    none = evidence()
    none["estimates"]["fqe"]["ci95"] = None
    assert "1 of 2 estimates say that the new policy is better; the rest cannot tell" in verdict(none)
    assert "+0.2 (no interval)" in write_report(tmp_path, none).read_text()


def test_a_candidate_that_blew_up_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    torn = evidence()
    torn["gate"]["decisions"].append(decision(300, False) | {"difference": None, "standard_error": None, "kl": None})
    assert 'src="gate.png"' in write_report(tmp_path, torn).read_text()


def test_the_page_says_what_a_person_has_to_know(tmp_path):
    page = write_report(tmp_path, evidence())
    text = page.read_text()
    assert page == tmp_path / "report" / "index.html"
    for cells in (
        ("0.0101", "0.0121", "+0.2 [+0.1, +0.3]", "better"),
        ("0.5 m/s", "old", "9.50 [9.25, 9.75]", "9.50 [9.25, 9.75]", "9.50 [9.25, 9.75]", "8 of 20"),
        ("0.5 m/s", "new", "12.50 [12.25, 12.75]", "12.50 [12.25, 12.75]", "12.50 [12.25, 12.75]", "0 of 20"),
        ("episodes", "30"),
        ("control steps", "12,345"),
        ("learnt from, 1 sessions", "10,000"),
        ("dropped: the policy acted before it had seen anything", "5"),
        ("dropped: the velocity, and with it the reward, was not measured", "339"),
        ("dropped: more than a control period passed before what followed", "3"),
        ("dropped: rain", "1"),
        ("falls", "7"),
        ("old", OLD),
        ("new", NEW),
    ):
        assert "".join(f"<td>{cell}</td>" for cell in cells) in text
    assert "terrain mattress" in text
    assert "Of 2 candidates the gate accepted 1." in text
    assert "0.125 nats a joint" in text


def test_pictures_lie_beside_the_page(tmp_path):
    pytest.importorskip("matplotlib")
    assert 'src="gate.png"' in write_report(tmp_path, evidence()).read_text()
    assert (tmp_path / "report" / "gate.png").read_bytes().startswith(b"\x89PNG")


def test_a_gate_that_was_never_asked_can_be_drawn(tmp_path):
    silent = evidence(accepted_steps=0)
    silent["gate"] |= {"accepted": 0, "rejected": 0, "decisions": []}
    assert "Of 0 candidates" in write_report(tmp_path, silent).read_text()


def test_without_matplotlib_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = write_report(tmp_path, evidence()).read_text()
    assert "no pictures: matplotlib is not installed" in text
    assert "<img" not in text
