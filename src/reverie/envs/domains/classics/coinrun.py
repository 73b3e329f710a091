"""Procgen's CoinRun: one generated level per episode."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from reverie.core.types import NATIVE_FRAME_PX

COIN_REWARD = 10.0
LIMIT = 1000
"""Steps after which the library starts anew by itself."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoinRunState:
    """The library's own snapshot, and what it does not know."""

    level: bytes
    picture: UInt8[np.ndarray, "h w 3"]
    num_steps: int
    is_over: bool
    has_coin: bool


class CoinRun:
    """Nine choices: left, stay or right, with down, nothing or jump."""

    def __init__(self) -> None:
        """Build a first level."""
        self._begin(0)

    @property
    def state(self) -> CoinRunState:
        """The whole level; setting it restores it."""
        return CoinRunState(
            level=self._env.callmethod("get_state")[0],
            picture=self._picture,
            num_steps=self._num_steps,
            is_over=self._is_over,
            has_coin=self._has_coin,
        )

    @state.setter
    def state(self, state: CoinRunState) -> None:
        self._env.callmethod("set_state", [state.level])
        # The library reports a state only after it was asked for an observation.
        self._env.observe()
        self._picture = state.picture
        self._num_steps, self._is_over = state.num_steps, state.is_over
        self._has_coin = state.has_coin

    def reset(self, rng: np.random.Generator) -> None:
        """Generate a new level."""
        self._begin(int(rng.integers(2**31)))

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Make the move with the largest lane; the coin pays 10."""
        self._env.act(np.array([int(np.argmax(action))], dtype=np.int32))
        reward, _, is_first = self._env.observe()
        self._num_steps += 1
        self._has_coin = float(reward[0]) >= COIN_REWARD
        self._is_over = bool(is_first[0]) and (self._has_coin or self._num_steps < LIMIT)
        if not is_first[0]:
            # Otherwise the picture is the next episode's already.
            self._look()
        return float(reward[0])

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Reduce the library's large picture; at the end of an episode its last one."""
        size = (NATIVE_FRAME_PX, NATIVE_FRAME_PX)
        small = Image.fromarray(self._picture).resize(size, Image.Resampling.BILINEAR)
        return np.asarray(small, dtype=np.uint8)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the small picture that the library's agents observe, flattened, in [0, 1]."""
        _, observation, _ = self._env.observe()
        return (observation["rgb"][0].reshape(-1) / 255.0).astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return 1 with the coin, else 0."""
        return float(total_reward >= COIN_REWARD)

    def is_success(self) -> bool:
        """Tell whether the coin was reached."""
        return self._has_coin

    def is_over(self) -> bool:
        """Tell whether the coin was reached or the player died."""
        return self._is_over

    def close(self) -> None:
        """Release the level."""
        self._env.close()

    def _begin(self, level_seed: int) -> None:
        self._env: Any = _make_level(level_seed)
        self._num_steps, self._is_over, self._has_coin = 0, False, False
        self._env.observe()
        self._look()

    def _look(self) -> None:
        self._picture = self._env.get_info()[0]["rgb"].copy()


def _make_level(level_seed: int) -> Any:
    import contextlib
    import io

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        # Its dependency, the old gym, warns and prints when it is imported.
        warnings.simplefilter("ignore")
        from procgen import ProcgenGym3Env

        return ProcgenGym3Env(
            num=1,
            env_name="coinrun",
            render_mode="rgb_array",
            num_levels=1,
            start_level=level_seed,
        )
