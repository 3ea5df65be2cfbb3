"""What every log of a sitting says of its robot and its policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robot.driver import VelocitySource
from robot.log.episode import EpisodeAttributes
from robot.policy.artifact import PolicyArtifact
from robot.policy.metadata import layout_json


def attributes_of(
    policy: PolicyArtifact, source: str, velocity: VelocitySource, session: str, config: Mapping[str, Any]
) -> EpisodeAttributes:
    """What every log of a sitting carries; `source` is the robot's name, `config` holds JSON values."""
    metadata = policy.metadata
    return EpisodeAttributes(
        robot=metadata.robot,
        policy_sha256=policy.sha256,
        control_dt_s=metadata.control_dt_s,
        layout_json=layout_json(metadata.layout),
        config_json=json.dumps(config),
        session=session,
        source=source,
        velocity_source=velocity.name,
    )
