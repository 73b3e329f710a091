"""Makes the MuJoCo tasks."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reverie.core.types import FrameSpec, RenderQuality
from reverie.envs.domains.mujoco.game import ClassicGame, Payment, ScoreRange
from reverie.envs.game_env import GameEnv
from reverie.envs.mujoco_renderer import Camera, FreeCamera, MujocoRenderer, prepare_mujoco
from reverie.envs.spec import TaskSpec

RELEASE_PX = 480
"""Side of the picture that gymnasium draws by default; the benchmark reduces it to 224."""
_NEVER_ENDS: Mapping[str, Any] = {"terminate_when_unhealthy": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Classic:
    """How a task is built from gymnasium's class."""

    module: str
    kind: str
    score: ScoreRange
    camera: Camera = "track"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    payment: Payment = "library"


_PENDULUM_VIEW = FreeCamera(look_at=(0.0, 0.0, 0.0), distance=2.04)
_REACHER_VIEW = FreeCamera(look_at=(0.0, 0.0, 0.01), distance=1.24)
# Differs from the release: it looks at the median of all geoms at the first frame, which moves by
# up to 25 mm from one environment to the next; here the place is fixed.

_CLASSICS = {
    "mujoco-ant": _Classic(
        module="ant_v4", kind="AntEnv", score=ScoreRange(0.0, 5000.0), arguments=_NEVER_ENDS
    ),
    "mujoco-halfcheetah": _Classic(
        module="half_cheetah_v4", kind="HalfCheetahEnv", score=ScoreRange(0.0, 15000.0)
    ),
    "mujoco-hopper": _Classic(
        module="hopper_v4",
        kind="HopperEnv",
        score=ScoreRange(0.0, 5000.0),
        arguments=_NEVER_ENDS,
        payment="while healthy",
    ),
    "mujoco-inverted-pendulum": _Classic(
        module="inverted_pendulum_v4",
        kind="InvertedPendulumEnv",
        score=ScoreRange(0.0, 1000.0),
        camera=_PENDULUM_VIEW,
        payment="until fallen",
    ),
    "mujoco-reacher": _Classic(
        module="reacher_v4", kind="ReacherEnv", score=ScoreRange(-50.0, 0.0), camera=_REACHER_VIEW
    ),
    "mujoco-walker": _Classic(
        module="walker2d_v4",
        kind="Walker2dEnv",
        score=ScoreRange(0.0, 5000.0),
        arguments=_NEVER_ENDS,
        payment="while healthy",
    ),
}


def make_env(spec: TaskSpec, frame_spec: FrameSpec, quality: RenderQuality) -> GameEnv:
    """Start a classic task. Version 4 is the benchmark's; later ones pay and observe otherwise."""
    prepare_mujoco()
    classic = _CLASSICS[spec.name]
    module = importlib.import_module(f"gymnasium.envs.mujoco.{classic.module}")
    environment = getattr(module, classic.kind)(**classic.arguments)
    renderer = MujocoRenderer(
        environment.model,
        frame_spec,
        camera=classic.camera,
        quality=quality,
        release_px=RELEASE_PX,
    )
    game = ClassicGame(
        environment,
        renderer,
        repeat=spec.action_repeat,
        score_range=classic.score,
        payment=classic.payment,
    )
    return GameEnv(spec, frame_spec, game)
