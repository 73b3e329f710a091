"""The Arcade Learning Environment as a game, with the benchmark's continuous stick."""

import math

import ale_py
import numpy as np
from ale_py import Action, ALEInterface, roms
from jaxtyping import Float32, UInt8

from reverie.envs.domains.atari.tasks import AtariGame

CANVAS_PX = 224
SCREEN_ROW_PX, SCREEN_COLUMN_PX = 7, 32
"""Where the 210x160 screen lies on the black canvas."""
STICK_THRESHOLD = 0.5

_CODES = {
    (0, 0): (Action.NOOP, Action.FIRE),
    (0, 1): (Action.UP, Action.UPFIRE),
    (0, -1): (Action.DOWN, Action.DOWNFIRE),
    (1, 0): (Action.RIGHT, Action.RIGHTFIRE),
    (-1, 0): (Action.LEFT, Action.LEFTFIRE),
    (1, 1): (Action.UPRIGHT, Action.UPRIGHTFIRE),
    (-1, 1): (Action.UPLEFT, Action.UPLEFTFIRE),
    (1, -1): (Action.DOWNRIGHT, Action.DOWNRIGHTFIRE),
    (-1, -1): (Action.DOWNLEFT, Action.DOWNLEFTFIRE),
}
"""(right, up) → the joystick code without and with the button."""


class Console:
    """One cartridge. Draws nothing at random; after the game is over the picture stands still."""

    def __init__(self, cartridge: AtariGame, *, num_repeats: int) -> None:
        """Load a cartridge.

        Args:
            cartridge: The game.
            num_repeats: Emulator frames per step.
        """
        ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("random_seed", 0)
        self._ale.loadROM(str(roms.get_rom_path(cartridge.rom)))
        self._ale.reset_game()
        self._start = self._ale.cloneState(include_rng=True)
        self._start_screen = self._ale.getScreenRGB()
        self._cartridge = cartridge
        self._num_repeats = num_repeats
        self._has_moved = False

    @property
    def state(self) -> ale_py.ALEState:
        """The whole emulator; setting it restores it."""
        return self._ale.cloneState(include_rng=True)

    @state.setter
    def state(self, state: ale_py.ALEState) -> None:
        self._ale.restoreState(state)
        self._has_moved = True

    def reset(self, rng: np.random.Generator) -> None:
        """Go back to the moment after switching on; the generator is not used."""
        self._ale.restoreState(self._start)
        self._has_moved = False

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Hold the stick for some frames; return the change of the game's score."""
        code, strength = stick_code(action)
        reward = sum(self._ale.act(code, strength) for _ in range(self._num_repeats))
        self._has_moved = True
        return float(reward)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Put the screen onto the canvas."""
        # The emulator's own screen is behind a restored state until the next frame.
        screen = self._ale.getScreenRGB() if self._has_moved else self._start_screen
        canvas = np.zeros((CANVAS_PX, CANVAS_PX, 3), dtype=np.uint8)
        height, width = screen.shape[:2]
        rows = slice(SCREEN_ROW_PX, SCREEN_ROW_PX + height)
        canvas[rows, SCREEN_COLUMN_PX : SCREEN_COLUMN_PX + width] = screen
        return canvas

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return the 128 bytes of memory."""
        return self._ale.getRAM().astype(np.float32)

    def score(self, total_reward: float) -> float:
        """Return how far the return lies between the game's two reference scores."""
        low, high = self._cartridge.low, self._cartridge.high
        return min(max((total_reward - low) / (high - low), 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: no game says when it is won."""
        return False

    def is_over(self) -> bool:
        """Return False: the benchmark plays on until its limit, whatever the game says."""
        return False


def stick_code(action: Float32[np.ndarray, " a"]) -> tuple[Action, float]:
    """Translate radius, direction and button to a joystick code and a paddle strength.

    The rule is that of the recorded data: one positive threshold per axis, so that a stick that
    is hardly tilted means down and left, not "no operation".
    """
    radius, angle = (float(action[0]) + 1.0) / 2.0, math.pi * float(action[1])
    x, y = radius * math.cos(angle), radius * math.sin(angle)
    right = (x > STICK_THRESHOLD) - (x < STICK_THRESHOLD)
    up = (y > STICK_THRESHOLD) - (y < STICK_THRESHOLD)
    return _CODES[right, up][int(float(action[2]) > 0.0)], radius
