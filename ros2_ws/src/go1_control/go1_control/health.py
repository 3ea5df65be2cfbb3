"""The node's diagnostics: the robot, the control loop, the recorder, the commands; each with a level, a sentence and its figures."""

from __future__ import annotations

import time
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus

from robot.driver import DriverError, fault_names
from robot.health import unguarded
from robot.log.recorder import RecorderStatus
from robot.loop_statistics import LoopStatistics
from robot.session import Session
from robot.stick import Stick
from robot.supervisor import Mode, event_names
from robot.velocity.watched import WatchedVelocity

Part = tuple[bytes, str, dict[str, object]]
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

MISSED_SHARE = 0.001  # of the ticks; more is worth a warning
LATE_MS = 2.0  # observation to command, 99th percentile


def health(
    session: Session, statistics: LoopStatistics, recorder: RecorderStatus | None, stick: Stick, mismatches: Mapping[str, str]
) -> dict[str, Part]:
    """Everything worth telling, by name."""
    parts = {"robot": _robot(session), "control loop": _loop(session, statistics), "commands": _commands(session, stick, mismatches)}
    return parts | ({"recorder": _recorder(recorder)} if recorder is not None else {}) | _velocity(session)


def not_configured(refusal: str) -> dict[str, Part]:
    """What there is to tell without a robot; `refusal` is why the node could not be configured, "" if nobody tried."""
    return {"configuration": (ERROR, refusal, {}) if refusal else (WARN, "not configured", {})}


def _robot(session: Session) -> Part:
    state, cause = session.cycle.state, session.loop.supervisor.cause
    faults = fault_names(state.faults) if state is not None else ""
    values: dict[str, object] = {"mode": session.mode.value, "events": event_names(cause), "faults": faults}
    driver, warning = session.cycle.driver, f"would not stand: {faults}" if faults else ""
    try:
        if (status := driver.status) is not None:
            values |= {name: getattr(value, "name", value) for name, value in vars(status).items()}
        warning = warning or unguarded(driver)
    except DriverError as error:
        values["driver"] = error
    if session.mode is Mode.DAMPING:
        return ERROR, f"damped by {event_names(cause)} {faults}".strip(), values
    return (WARN, warning, values) if warning else (OK, session.mode.value, values)


def _loop(session: Session, statistics: LoopStatistics) -> Part:
    summary = statistics.summary()
    values = {name: value for name, value in summary.items() if not isinstance(value, dict)}
    for kind in ("obs_to_command", "lateness"):
        values |= {f"{kind} {edge}": count for edge, count in summary[f"{kind}_histogram"].items()}
    values |= {f"refused {number}": refused for number, refused in enumerate(session.thread.refused)}
    if session.thread.error is not None:
        return ERROR, f"ended: {session.thread.error}", values
    if statistics.missed_share > MISSED_SHARE or summary["obs_to_command_p99_ms"] > LATE_MS:
        return WARN, f"{statistics.missed} ticks missed, 99 % of commands within {summary['obs_to_command_p99_ms']:.2f} ms", values
    return OK, f"{statistics.ticks} ticks, {statistics.missed} missed", values


def _commands(session: Session, stick: Stick, mismatches: Mapping[str, str]) -> Part:
    fresh = stick.is_fresh(time.monotonic())
    values: dict[str, object] = {"fresh": fresh, "refused": stick.refused} | {
        f"mismatch {topic}": kind for topic, kind in mismatches.items()
    }
    if session.mode is Mode.POLICY and not fresh:
        return WARN, "no cmd_vel: the robot is told to stand on the spot", values
    if mismatches:
        return WARN, f"quality of service does not fit on {', '.join(mismatches)}", values
    return OK, "fresh" if fresh else "none", values


def _recorder(status: RecorderStatus) -> Part:
    values: dict[str, object] = dict(vars(status))
    if status.error or not status.alive:
        return WARN, status.error or "the recorder's process has ended; the next episode starts another one", values
    return OK, f"{status.rows_written} rows written", values


def _velocity(session: Session) -> dict[str, Part]:
    source = session.cycle.velocity
    if not isinstance(source, WatchedVelocity):
        return {}
    report = source.report
    values: dict[str, object] = dict(report.losses) | {"source": report.source, "changes": report.changes}
    return {"velocity": (WARN if report.why else OK, f"by {report}", values)}
