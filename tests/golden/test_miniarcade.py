"""MiniArcade against recorded trajectories of the original games: states, rewards and pixels."""

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reverie.envs.game_env import Game

FIXTURES = Path(__file__).parents[1] / "fixtures" / "miniarcade"


class ScriptedDraws(np.random.Generator):
    """Answers each draw with the next recorded number."""

    def __init__(self, draws: list[float]) -> None:
        super().__init__(np.random.PCG64(0))
        self._draws = list(draws)

    def _next(self, *_args: Any, **_kwargs: Any) -> float:
        assert self._draws, "the game drew more random numbers than the recording holds"
        return self._draws.pop(0)

    uniform = normal = integers = random = choice = _next

    def assert_used_up(self) -> None:
        assert not self._draws, f"{len(self._draws)} recorded draws were not used"


@dataclass
class Recording:
    """One fixture: arrays by name."""

    arrays: dict[str, np.ndarray]

    @property
    def frames(self) -> np.ndarray:
        return np.cumsum(self.arrays["frames_delta"], axis=0, dtype=np.uint8)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def listed(self, name: str, index: int) -> np.ndarray:
        return self.arrays[f"s_{name}"][index, : int(self.arrays[f"n_{name}"][index])]

    def draws(self, kind: str, index: int) -> ScriptedDraws:
        start, stop = self.arrays[f"draws_{kind}_ptr"][index : index + 2]
        return ScriptedDraws([float(value) for value in self.arrays[f"draws_{kind}"][start:stop]])


def maze_state(recording: Recording, index: int) -> Any:
    from reverie.envs.domains.miniarcade.games.point_maze import MazeState

    x, y, velocity_x, velocity_y = (float(value) for value in recording["s_agent"][index])
    goal_x, goal_y = (float(value) for value in recording["s_goal"][index])
    row, column = (int(value) for value in recording["s_wind_cell"][index])
    return MazeState(
        steps=int(recording["s_steps"][index]),
        x=x,
        y=y,
        velocity_x=velocity_x,
        velocity_y=velocity_y,
        goal=(goal_x, goal_y),
        wind_cell=(row, column),
        wind_direction=int(recording["s_wind_dir"][index]),
        glow_phase=float(recording["s_glow_phase"][index]),
        trail=[(float(a), float(b)) for a, b in recording.listed("trail", index)],
    )


def cartpole_state(recording: Recording, index: int) -> Any:
    from reverie.envs.domains.miniarcade.games.cartpole import CartpoleState, Decor, Rock

    rocks: list[Rock] = []
    for kind, *shape, red, green, blue in recording.listed("rocks", index):
        numbers = tuple(int(value) for value in shape if not np.isnan(value))
        rocks.append(Rock(bool(kind == 0), numbers, (int(red), int(green), int(blue))))
    ceiling = tuple((int(x), int(y)) for x, y in recording["s_ceiling"][index])
    x, velocity, angle, angular_velocity = (float(v) for v in recording["s_state"][index])
    first, second = (float(value) for value in recording["s_lantern_phase"][index])
    return CartpoleState(
        steps=int(recording["s_steps"][index]),
        x=x,
        velocity=velocity,
        angle=angle,
        angular_velocity=angular_velocity,
        decor=Decor(ceiling, tuple(rocks)),
        lantern_phases=(first, second),
    )


def pong_state(recording: Recording, index: int) -> Any:
    from reverie.envs.domains.miniarcade.games.pong import PongState

    x, y, velocity_x, velocity_y = (float(value) for value in recording["s_ball"][index])
    own, other = (int(value) for value in recording["s_scores"][index])
    return PongState(
        steps=int(recording["s_steps"][index]),
        ball=(x, y, velocity_x, velocity_y),
        agent_y=float(recording["s_agent_y"][index]),
        opponent_y=float(recording["s_opp_y"][index]),
        reaction_delay=int(recording["s_reaction_delay"][index]),
        is_in_zone=bool(recording["s_in_zone"][index]),
        scores=(own, other),
    )


def cowboy_state(recording: Recording, index: int) -> Any:
    from reverie.envs.domains.miniarcade.games.cowboy import CowboyState, group_box

    cacti = [tuple(int(value) for value in box) for box in recording.listed("cacti", index)]
    assert tuple(group_box(cacti)) == tuple(recording["s_hitbox"][index])
    assert recording["s_arm_pose"][index] == recording["s_leg_pose"][index]
    return CowboyState(
        steps=int(recording["s_steps"][index]),
        y=float(recording["s_y"][index]),
        velocity_y=float(recording["s_vy"][index]),
        is_collided=bool(recording["s_collided"][index]),
        pose=int(recording["s_leg_pose"][index]),
        pose_timer=int(recording["s_pose_timer"][index]),
        cacti=cacti,
        pebbles=[(float(x), float(y)) for x, y in recording["s_pebbles"][index]],
        dust=[
            (float(x), float(y), float(u), float(v), int(life))
            for x, y, u, v, life in recording.listed("dust", index)
        ],
        sun=whole(recording["s_sun"][index]),
        sun_color=whole(recording["s_sun_color"][index]),
    )


def highway_state(recording: Recording, index: int) -> Any:
    from reverie.envs.domains.miniarcade.games.highway import KINDS, HighwayState, Slot

    slots = [
        Slot(bool(active), float(x), float(y), int(lane), int(kind), int(wait), int(timer))
        for active, x, y, _, lane, kind, wait, timer in recording["s_slots"][index]
    ]
    for slot, (_, _, _, length, *_) in zip(slots, recording["s_slots"][index], strict=True):
        assert not slot.is_active or KINDS[slot.kind].length == length
    return HighwayState(
        steps=int(recording["s_steps"][index]),
        car=decimals(recording["s_car"][index]),
        dash_offset=float(recording["s_dash_offset"][index]),
        flash=int(recording["s_flash"][index]),
        sticky=int(recording["s_sticky"][index]),
        slots=slots,
    )


def landing_state(recording: Recording, index: int) -> Any:
    from reverie.envs.domains.miniarcade.games.landing import LandingState

    return LandingState(
        steps=int(recording["s_steps"][index]),
        helicopter=decimals(recording["s_heli"][index]),
        ship_x=float(recording["s_ship_x"][index]),
        ship_direction=int(recording["s_ship_dir"][index]),
        ship_speed=float(recording["s_ship_speed"][index]),
        has_contact=bool(recording["s_contact"][index]),
        is_locked=bool(recording["s_locked"][index]),
        stars=tuple(decimals(star) for star in recording["s_stars"][index]),
    )


def rocket_state(recording: Recording, index: int) -> Any:
    from reverie.envs.domains.miniarcade.games.rocket_collect import Asteroid, RocketState

    asteroids = [
        Asteroid(
            place=(float(x), float(y)),
            velocity=(float(u), float(v)),
            angle=float(angle),
            spin=float(spin),
            has_entered=bool(entered),
            shape=tuple(decimals(vertex) for vertex in shape),
        )
        for (x, y, u, v, angle, spin, entered), shape in zip(
            recording.listed("asteroids", index),
            recording.listed("asteroid_shapes", index),
            strict=True,
        )
    ]
    return RocketState(
        steps=int(recording["s_steps"][index]),
        agent=decimals(recording["s_agent"][index]),
        coin=decimals(recording["s_coin"][index]),
        asteroids=asteroids,
        num_coins=int(recording["s_score"][index]),
        collision_timer=int(recording["s_collision_timer"][index]),
        effects=[(float(x), float(y), int(t)) for x, y, t in recording.listed("effects", index)],
        texts=[(float(x), float(y), int(t)) for x, y, t in recording.listed("texts", index)],
        stars=tuple(whole(star) for star in recording["s_stars"][index]),
    )


def whole(values: np.ndarray) -> Any:
    return tuple(int(value) for value in values)


def decimals(values: np.ndarray) -> Any:
    return tuple(float(value) for value in values)


StateAt = Callable[[Recording, int], Any]
GAMES: dict[str, tuple[str, str, StateAt]] = {
    "pygame-cartpole-balance": ("cartpole", "balance", cartpole_state),
    "pygame-cowboy": ("cowboy", "", cowboy_state),
    "pygame-highway": ("highway", "", highway_state),
    "pygame-landing": ("landing", "", landing_state),
    "pygame-pong": ("pong", "", pong_state),
    "pygame-point-maze-var1": ("point_maze", "var1", maze_state),
    "pygame-rocket-collect": ("rocket_collect", "", rocket_state),
}


def load(name: str) -> tuple[Recording, Game, StateAt]:
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        recording = Recording({key: arrays[key] for key in arrays.files})
    module, variant, state_at = GAMES[str(recording["task"])]
    game = importlib.import_module(f"reverie.envs.domains.miniarcade.games.{module}")
    return recording, game.make_game(variant), state_at


NAMES = sorted(path.stem for path in FIXTURES.glob("*.npz") if path.stem.split("_")[0] in GAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_state_draws_the_recorded_frame(name: str) -> None:
    recording, game, state_at = load(name)
    for index, frame in enumerate(recording.frames):
        game.state = state_at(recording, index)
        draws = recording.draws("render", index)
        drawn = game.draw(draws)
        draws.assert_used_up()
        differing = int((drawn != frame).any(axis=-1).sum())
        assert differing == 0, f"frame {index} of {name} differs in {differing} pixels"


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_step_leads_to_the_recorded_state(name: str) -> None:
    recording, game, state_at = load(name)
    for index, action in enumerate(recording["action"]):
        game.state = state_at(recording, index)
        game.draw(recording.draws("render", index))  # Some counters advance by drawing.
        draws = recording.draws("step", index)
        reward = game.step(np.clip(action, -1.0, 1.0), draws)
        draws.assert_used_up()
        assert reward == pytest.approx(float(recording["reward"][index]), abs=1e-9)
        np.testing.assert_allclose(game.state_vector(), recording["obs"][index + 1], atol=1e-6)
        assert_same_state(game.state, state_at(recording, index + 1))


def assert_same_state(state: Any, recorded: Any) -> None:
    for name in recorded.__slots__:
        given, expected = getattr(state, name), getattr(recorded, name)
        if dataclasses.is_dataclass(expected):
            assert given == expected, name
            continue
        if isinstance(expected, list) and expected and dataclasses.is_dataclass(expected[0]):
            assert len(given) == len(expected), name
            for one, other in zip(given, expected, strict=True):
                assert_same_state(one, other)
            continue
        np.testing.assert_allclose(
            np.array(given, dtype=float), np.array(expected, dtype=float), atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_recorded_sequence_is_played_pixel_for_pixel(name: str) -> None:
    recording, game, state_at = load(name)
    game.state = state_at(recording, 0)
    total = float(recording["return_start"])
    for index, frame in enumerate(recording.frames):
        drawn = game.draw(recording.draws("render", index))
        np.testing.assert_array_equal(drawn, frame)
        if index == len(recording["action"]):
            break
        action = np.clip(recording["action"][index], -1.0, 1.0)
        total += game.step(action, recording.draws("step", index))
        assert game.score(total) == pytest.approx(float(recording["score"][index + 1]), abs=1e-9)
        assert game.is_success() == bool(recording["success"][index])
