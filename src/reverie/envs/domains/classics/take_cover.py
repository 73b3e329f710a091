"""ViZDoom's TakeCover: monsters throw fireballs; staying alive pays."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path

import numpy as np
import vizdoom
from jaxtyping import Float32, UInt8

from reverie.envs.domains.box2d.replay import Replay, draw_seed
from reverie.envs.domains.classics.letterbox import to_square

FULL_RETURN = 2100.0
FULL_SPEED = 24.0
"""Sideways movement that the game's own button "move right" makes in one tic."""
NUM_THINGS = 12
"""Monsters and fireballs that the state vector tells of, the nearest first."""
_VARIABLES = (
    vizdoom.GameVariable.POSITION_X,
    vizdoom.GameVariable.POSITION_Y,
    vizdoom.GameVariable.VELOCITY_Y,
    vizdoom.GameVariable.HEALTH,
)


class TakeCover:
    """One Doom process per game; ends with the player's life."""

    def __init__(self) -> None:
        """Start Doom, without window and sound, in a folder of its own."""
        folder = tempfile.mkdtemp(prefix="reverie-doom-")
        game = vizdoom.DoomGame()
        game.load_config(str(Path(vizdoom.scenarios_path) / "take_cover.cfg"))
        game.set_doom_config_path(str(Path(folder) / "doom.ini"))
        game.set_window_visible(False)
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_available_buttons([vizdoom.Button.MOVE_LEFT_RIGHT_DELTA])
        game.set_available_game_variables(list(_VARIABLES))
        game.set_objects_info_enabled(True)
        # Doom makes a folder wherever it is started.
        others = _doom_processes()
        with contextlib.chdir(folder):
            game.init()
        watcher = _watch(_doom_processes() - others)
        self._game = game
        # Doom writes into its folder when it ends, at the exit of the interpreter too.
        self._end = weakref.finalize(self, _end, game, folder, watcher)
        self._begin(0)

    def reset(self, rng: np.random.Generator) -> None:
        """Start a new life."""
        self._begin(draw_seed(rng))

    @property
    def state(self) -> Replay:
        """The episode so far; setting it repeats the episode."""
        return self._replay

    @state.setter
    def state(self, replay: Replay) -> None:
        replay.play(self._begin, self._advance)
        self._replay = replay

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move sideways for one tic; each tic pays 1."""
        self._replay = self._replay.after(action)
        return self._advance(action)

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Show what the player sees, black above and below; after death the last sight."""
        return to_square(self._screen, padding=0)

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return place, sideways speed and health of the player, then what is around.

        Each of the nearest things takes five values: its way from the player (2), its velocity
        (2), and 1; zeros where there is nothing.
        """
        return self._values.copy()

    def score(self, total_reward: float) -> float:
        """Return the part of a full minute."""
        return min(max(total_reward / FULL_RETURN, 0.0), 1.0)

    def is_success(self) -> bool:
        """Tell whether the player lives."""
        return not self.is_over()

    def is_over(self) -> bool:
        """Tell whether the player is dead."""
        return bool(self._game.is_episode_finished())

    def close(self) -> None:
        """End Doom and delete its folder."""
        self._end()

    def _begin(self, seed: int) -> None:
        self._replay = Replay(seed)
        self._game.set_seed(seed)
        self._game.new_episode()
        self._look()

    def _advance(self, action: Float32[np.ndarray, " a"]) -> float:
        reward = self._game.make_action([FULL_SPEED * float(action[0])])
        self._look()
        return float(reward)

    def _look(self) -> None:
        now = self._game.get_state()
        if now is not None:
            self._screen = np.array(now.screen_buffer, dtype=np.uint8)
            self._values = _state_values(now)


def _state_values(now: vizdoom.GameState) -> Float32[np.ndarray, " n"]:
    player = np.array(now.game_variables)
    things = np.array(
        [
            (thing.position_x, thing.position_y, thing.velocity_x, thing.velocity_y, 1.0)
            for thing in now.objects
            if thing.name != "DoomPlayer"
        ]
    ).reshape(-1, 5)
    things[:, :2] -= player[:2]
    nearest = things[np.argsort(np.hypot(things[:, 0], things[:, 1]), kind="stable")][:NUM_THINGS]
    slots = np.zeros((NUM_THINGS, 5))
    slots[: len(nearest)] = nearest
    return np.concatenate([player, slots.ravel()]).astype(np.float32)


def _doom_processes() -> set[str]:
    """Return the ids of the Doom processes below this one; none where there is no /proc."""
    lists = Path("/proc/self/task").glob("*/children")
    children = {child for file in lists for child in file.read_text().split()}
    return {child for child in children if Path(f"/proc/{child}/comm").read_text() == "vizdoom\n"}


def _watch(dooms: set[str]) -> subprocess.Popen[bytes]:
    """Start a shell that ends Doom when this process is gone: Doom itself would play on alone."""
    loop = 'while kill -0 "$0"; do sleep 1; done; kill -9 "$@"'
    return subprocess.Popen(
        ["sh", "-c", loop, str(os.getpid()), *sorted(dooms)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(game: vizdoom.DoomGame, folder: str, watcher: subprocess.Popen[bytes]) -> None:
    watcher.kill()
    watcher.wait()
    game.close()
    shutil.rmtree(folder, ignore_errors=True)
