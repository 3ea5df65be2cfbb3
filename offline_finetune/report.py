"""The evidence of a fine-tuning as a page for whoever has to decide whether the new policy goes onto the robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.page import draw, heading, paragraph, picture, table, with_interval, write_page
from offline_finetune.dataset import MISSED_PERIOD, NO_HISTORY, OUT_OF_ORDER, UNREADABLE_END, VELOCITY_GLITCH

ESTIMATORS = {
    "amq": "AM-Q: rollouts in the learned model",
    "fqe": "fitted-Q evaluation: recorded steps alone",
    "wis": "weighted importance sampling: recorded rewards alone",
}
REASONS = {
    NO_HISTORY: "the policy acted before it had seen anything",
    UNREADABLE_END: "what followed was no reading of the robot",
    MISSED_PERIOD: "more than a control period passed before what followed",
    OUT_OF_ORDER: "what follows in the log is not what they led to",
    VELOCITY_GLITCH: "the velocity, and with it the reward, was not measured",
}
SHARE_NOTE = (
    "The policies are so far from what recorded the logs that importance sampling rests on {:.2%} of the stretches: it says nothing."
)
DIVERGED_NOTE = (
    "Fitted-Q evaluation has diverged: it expects more or less than any recorded step earned, and says nothing. A smaller "
    "fqe.learning_rate learns more calmly."
)
BETTER, WORSE, UNCLEAR = "better", "worse", "cannot tell"
LEAST_SHARE = 0.01  # of the stretches, that importance sampling must rest on to be heard
FEW_SESSIONS = 6  # fewer, and Student's t is 1.4 times and more as wide as it would be of many

Evidence = Mapping[str, Any]


def write_report(out: Path, evidence: Evidence) -> Path:
    """Write `out`/report/index.html and its pictures from what `quadloop finetune` puts into evidence.json; returns the page."""
    report = out / "report"
    note = draw(report / "gate.png", 1, 2, lambda axes: _paint_gate(axes, evidence["gate"]["decisions"]))
    parts = [
        paragraph(verdict(evidence), "verdict"),
        *_estimates(evidence),
        *_twin(evidence["twin"]),
        *_gate(evidence),
        picture("gate.png", "the gate's decisions") if note is None else paragraph(note, "note"),
        *_data(evidence["data"]),
        *_identity(evidence),
    ]
    return write_page(report / "index.html", "Is the new policy better?", parts)


def verdict(evidence: Evidence) -> str:
    """One sentence that sums up the estimates."""
    if evidence["gate"]["accepted_steps"] == 0:
        why = "the logs do not show which actions are better" if _untold(evidence["gate"]) else "the gate accepted no change"
        return f"Nothing has changed: {why}, so the new policy is the old one."
    said = [judgement(estimate, evidence["data"]) for estimate in evidence["estimates"].values()]
    decided = [judged for judged in said if judged != UNCLEAR]
    if not decided:
        return "No estimate can tell whether the new policy is better: record more sessions."
    if len(set(decided)) == 2:
        return "The estimates contradict each other: do not trust any. Record more sessions before you use the new policy."
    if len(decided) == len(said):
        return f"All {len(said)} estimates say that the new policy is {decided[0]}."
    return f"{len(decided)} of {len(said)} estimates say that the new policy is {decided[0]}; the rest cannot tell."


def with_judgements(evidence: Evidence) -> dict[str, Any]:
    """The evidence with what the page says of it: `verdict`, and the `judgement` of each estimate."""
    judged = {name: {**estimate, "judgement": judgement(estimate, evidence["data"])} for name, estimate in evidence["estimates"].items()}
    return {**evidence, "verdict": verdict(evidence), "estimates": judged}


def judgement(estimate: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """What one estimate says of the new policy: an interval without zero decides. One session alone has no interval, episodes of one have
    one that flatters, and so has an estimate by importance in which hardly a stretch counts."""
    interval = _interval(estimate)
    if not interval or len(data["holdout_sessions"]) < 2 or _share(estimate) < LEAST_SHARE:
        return UNCLEAR
    low, high = interval
    return BETTER if low > 0 else WORSE if high < 0 else UNCLEAR


def said_by_estimates(evidence: Evidence) -> dict[str, str]:
    """Estimator -> what the difference of new and old says of the new policy, that difference, its interval and unit."""
    return {
        ESTIMATORS[name].partition(":")[0]: f"{judgement(estimate, evidence['data'])} ({_difference(estimate)}, {estimate['unit']})"
        for name, estimate in evidence["estimates"].items()
    }


def _difference(estimate: Mapping[str, Any]) -> str:
    interval = "[{:+.3g}, {:+.3g}]".format(*found) if (found := _interval(estimate)) else "(no interval)"
    return f"{_figure(estimate['difference'], '+.3g')} {interval}"


def _interval(estimate: Mapping[str, Any]) -> tuple[float, float] | None:
    """Both ends; None too where one is no number."""
    low, high = estimate["ci95"] or (None, None)
    return (low, high) if low is not None and high is not None else None


def _figure(value: float | None, form: str) -> str:
    """A number in this form; None is one that is no number."""
    return "-" if value is None else format(value, form)


def _share(estimate: Mapping[str, Any]) -> float:
    """Of the stretches that an estimate rests on: 1 of one that knows none, 0 where weights are no numbers."""
    return float(estimate.get("effective_share", 1.0) or 0.0)


def paint_gate_differences(axis: Any, decisions: Sequence[Mapping[str, Any]]) -> None:
    """The gate's paired differences with 95 % intervals over the improvement steps, accepted green and rejected red."""
    for chosen, style in _by_outcome(decisions):
        errors = 1.96 * _column(chosen, "standard_error")
        axis.errorbar(_column(chosen, "step"), _column(chosen, "difference"), errors, fmt="o", **style)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_title("AM-Q of candidate minus incumbent, 95 %")
    _finish(axis, decisions)


def _paint_gate(axes: Any, decisions: Sequence[Mapping[str, Any]]) -> None:
    paint_gate_differences(axes[0, 0], decisions)
    for chosen, style in _by_outcome(decisions):
        axes[0, 1].plot(_column(chosen, "step"), _column(chosen, "kl"), "o", **style)
    axes[0, 1].set_title("distance from the old policy: KL (nats a joint)")
    _finish(axes[0, 1], decisions)


def _by_outcome(decisions: Sequence[Mapping[str, Any]]) -> list[tuple[list[Mapping[str, Any]], dict[str, str]]]:
    accepted = [decision for decision in decisions if decision["accepted"]]
    rejected = [decision for decision in decisions if not decision["accepted"]]
    split = ((accepted, {"label": "accepted", "color": "tab:green"}), (rejected, {"label": "rejected", "color": "tab:red"}))
    return [(chosen, style) for chosen, style in split if chosen]


def _column(decisions: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """One figure of every decision. A candidate that blew up has None, which becomes NaN and is not drawn."""
    return np.array([decision[name] for decision in decisions], dtype=np.float64)


def _finish(axis: Any, decisions: Sequence[Mapping[str, Any]]) -> None:
    axis.set_xlabel("improvement steps")
    if decisions:
        axis.margins(y=0.2)  # for the legend
        axis.legend(loc="upper left", ncols=2)


def _estimates(evidence: Evidence) -> list[str]:
    data = evidence["data"]
    sessions = len(data["holdout_sessions"])
    rows = [["estimate", "old", "new", "difference, 95 %", "the new policy is"]]
    for name, estimate in evidence["estimates"].items():
        values = [_figure(estimate[policy], ".4g") for policy in ("old", "new")]
        rows.append([f"{ESTIMATORS[name]} ({estimate['unit']})", *values, _difference(estimate), judgement(estimate, data)])
    parts = [heading(f"What the held-out {data['holdout_by']}s say"), table(rows)]
    if evidence["estimates"]["fqe"].get("diverged"):
        parts.append(paragraph(DIVERGED_NOTE, "note"))
    if (share := min(map(_share, evidence["estimates"].values()))) < LEAST_SHARE:
        parts.append(paragraph(SHARE_NOTE.format(share), "note"))
    if data["holdout_by"] == "episode":
        parts.append(paragraph("All logs are of one session, so single episodes are held out: they flatter every estimate.", "note"))
    elif sessions < FEW_SESSIONS:
        parts.append(
            paragraph(f"Sessions held out: {sessions}. So few tell little: record more, and the intervals become narrower.", "note")
        )
    return parts


def _twin(twin: Mapping[str, Any]) -> list[str]:
    rows = [["command", "policy", "return", "forward speed (m/s)", "speed error (m/s)", "falls"]]
    for command in twin["old"]:
        for name in ("old", "new"):
            figures = twin[name][command]
            measured = (with_interval(figures[column]) for column in ("return", "forward_speed", "forward_speed_error"))
            rows.append([f"{command} m/s", name, *measured, f"{figures['falls']} of {figures['trials']}"])
    note = "A simulated floor is not the robot's: this table warns of a policy that falls over, it does not prove a better one."
    return [heading(f"On the simulated robot, terrain {twin['terrain']}"), table(rows), paragraph(note)]


def _gate(evidence: Evidence) -> list[str]:
    gate = evidence["gate"]
    averaged = "the average of what became of the members, at most " if gate["average"] and gate["average"]["accepted"] else ""
    text = (
        f"Of {gate['accepted'] + gate['rejected']} candidates the gate accepted {gate['accepted']}. "
        f"The new policy is {averaged}{gate['accepted_steps']} improvement steps and a KL of "
        f"{_figure(evidence['kl_from_parent'], '.3f')} nats a joint from the old one."
    )
    return [heading("How it came about"), *([paragraph(_tested(gate))] if gate["advantage_test"] else []), paragraph(text)]


def _untold(gate: Mapping[str, Any]) -> bool:
    """Whether advantages were tested and did not pass: the gate was not asked."""
    return bool(gate["advantage_test"]) and not gate["decisions"]


def _tested(gate: Mapping[str, Any]) -> str:
    test = gate["advantage_test"]
    if test["correlation"] is None or test["z"] is None:
        agree = "cannot be compared: there are too few, or the critics have diverged"
    else:
        agree = f"correlate by {test['correlation']:.3f} where state and time are the same: {test['z']:.1f} standard errors above none"
    said = f"In {test['episodes']} episodes that their critics had not seen, advantages and recorded returns {agree}."
    return f"{said} That is too little to change anything." if _untold(gate) else said


def _data(data: Mapping[str, Any]) -> list[str]:
    dropped = [[f"dropped: {REASONS.get(reason, reason)}", f"{count:,}"] for reason, count in data["dropped"].items()]
    rows = [
        ["data", "count"],
        ["episodes", f"{data['episodes']:,}"],
        ["control steps", f"{data['steps']:,}"],
        [f"learnt from, {len(data['train_sessions'])} sessions", f"{data['train_steps']:,}"],
        [f"held out for the estimates, {', '.join(data['holdout_sessions']) or 'single episodes'}", f"{data['holdout_steps']:,}"],
        *dropped,
        ["falls", f"{data['falls']:,}"],
        ["of these without a measured velocity, kept all the same", f"{data['falls_without_velocity']:,}"],
    ]
    return [heading("The logs"), table(rows)]


def _identity(evidence: Evidence) -> list[str]:
    rows = [["policy", "sha256"], ["old", evidence["parent_sha256"]], ["new", evidence["policy_sha256"]]]
    return [heading("Which policies"), table(rows), paragraph(f"The process that finished it took {evidence['seconds']:.0f} s.")]
