"""Makes the MiniArcade tasks."""

import importlib
import os
from typing import Any

from reverie.core.types import FrameSpec
from reverie.envs.experts import Controller
from reverie.envs.game_env import GameEnv
from reverie.envs.spec import TaskSpec

_GAMES = (
    "air-hockey",
    "bird-attack",
    "cartpole",
    "chase-evade",
    "coconut-dodge",
    "coinrun",
    "cowboy",
    "dungeon-explorer",
    "foraging",
    "highway",
    "landing",
    "point-maze",
    "pong",
    "reacher",
    "rocket-collect",
    "spaceship",
    "whirlpool",
)
"""Beginnings of the tasks' short names; each game is a module with ``make_game(variant)``."""


def make_env(spec: TaskSpec, frame_spec: FrameSpec) -> GameEnv:
    """Start a MiniArcade task; only the module of its own game is imported."""
    short_name = spec.name.removeprefix("pygame-")
    prefix = next(prefix for prefix in _GAMES if short_name.startswith(prefix))
    module = _imported(f"games.{prefix.replace('-', '_')}")
    variant = short_name.removeprefix(prefix).removeprefix("-")
    return GameEnv(spec, frame_spec, module.make_game(variant))


def make_controller(spec: TaskSpec) -> Controller:
    """Return the expert of a MiniArcade task."""
    return _imported("experts").CONTROLLERS[spec.name]


def _imported(name: str) -> Any:
    # pygame prints a banner when it is first imported, unless this is set.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    return importlib.import_module(f"reverie.envs.domains.miniarcade.{name}")
