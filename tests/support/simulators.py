"""Starting tasks whose simulator may be missing, and stepping them without pictures."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from reverie.core.errors import MissingDriverError, MissingExtraError
from reverie.core.types import FrameSpec
from reverie.envs.game_env import GameEnv
from reverie.envs.registry import make_env

SMALL = FrameSpec(height_px=64, width_px=64)


def open_task(name: str, frame_spec: FrameSpec = SMALL) -> GameEnv:
    """Start a task, or skip the test with the text of what is missing."""
    try:
        env = make_env(name, frame_spec=frame_spec)
    except (MissingExtraError, MissingDriverError) as error:
        pytest.skip(str(error))
    assert isinstance(env, GameEnv)
    return env


@contextmanager
def undrawn(env: GameEnv) -> Iterator[GameEnv]:
    """Leave out the picture, which is nearly the whole cost of a step."""
    blank = np.zeros(env.frame_spec.shape, dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(env.game, "draw", lambda rng: blank)
        yield env
