"""Gymnasium's bipedal walker on our grounds, with the benchmark's reward and look."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from reverie.envs.domains.box2d.private import walker_module
from reverie.envs.domains.box2d.replay import jittered
from reverie.envs.domains.box2d.terrain import NUM_POINTS, STEP_M, Block, make_terrain
from reverie.envs.domains.box2d.walker_picture import WalkerLook, WalkerPicture

GROUND_COLORS = (
    (102, 153, 76),
    (94, 163, 60),
    (80, 120, 58),
    (119, 125, 58),
    (181, 149, 101),
    (194, 160, 134),
    (181, 130, 91),
    (122, 176, 114),
    (128, 191, 128),
    (143, 194, 143),
    (155, 166, 123),
    (125, 87, 57),
    (133, 111, 94),
    (145, 120, 120),
    (184, 165, 128),
    (200, 180, 150),
    (96, 158, 102),
)
MAX_DRIFT = 15
"""How far the ground's colour may wander from its first segment's, per channel."""
REWARD_RANGE = (-1.0, 10.0)
FULL_RETURN = 250.0
BLOCK_COLOR, BLOCK_EDGE_COLOR = (255, 255, 255), (153, 153, 153)


class Walker:
    """One walker; falling is paid for at every further step, and does not end the episode."""

    def __init__(self, terrain: str, *, num_repeats: int) -> None:
        """Make a walker; the first world comes with the first reset.

        Args:
            terrain: One of ``terrain.TERRAINS``.
            num_repeats: Simulation steps per step.
        """
        self._terrain = terrain
        self._num_repeats = num_repeats
        self._module = walker_module()
        self._env: Any = None
        self._observation = np.zeros(24, dtype=np.float32)
        self._picture = WalkerPicture(self._module)

    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """Draw what surrounds the walker."""
        return self._picture.draw(self._env, self._look)

    def observation(self) -> Float32[np.ndarray, " n"]:
        """Return the 24 values of the library: hull, joints, contacts, lidar."""
        return self._observation.copy()

    def begin(self, seed: int) -> None:
        """Build new ground and put the walker onto it."""
        # A new world for each episode: what Box2D remembers of an old one could leak.
        env = self._module.BipedalWalker(render_mode="rgb_array")
        look_rng = np.random.default_rng([seed, 1])
        heights, blocks = make_terrain(self._terrain, np.random.default_rng([seed, 0]))
        self._look = draw_look(heights, look_rng)
        env._generate_terrain = lambda hardcore: _build(env, heights, blocks)
        # Gymnasium's reset ends with one idle simulation step.
        self._observation, _ = env.reset(seed=seed)
        self._look.clouds.extend(env.cloud_poly)
        self._env = env

    def advance(self, action: Float32[np.ndarray, " a"]) -> float:
        """Advance; return the clipped rewards of the simulation steps, summed."""
        total = 0.0
        for _ in range(self._num_repeats):
            self._observation, reward, *_ = self._env.step(action)
            total += min(max(float(reward), REWARD_RANGE[0]), REWARD_RANGE[1])
        self._env.lidar_render = (self._env.lidar_render + 1) % 100
        return total


def draw_look(heights: list[float], rng: np.random.Generator) -> WalkerLook:
    """Draw the colours of an episode."""
    start = np.array(GROUND_COLORS[int(rng.integers(len(GROUND_COLORS)))])
    color = start.copy()
    grounds: list[tuple[int, int, int]] = []
    lines: list[tuple[int, int, int]] = []
    for _ in range(len(heights) - 1):
        color = np.clip(color - rng.integers(0, 2, size=3), start - MAX_DRIFT, start + MAX_DRIFT)
        red, green, blue = (int(value) for value in np.clip(color, 0, 255))
        grounds.append((red, green, blue))
        lines.append((max(red - 20, 0), int(rng.integers(green, 255)), blue))
    sky_shift = int(rng.integers(-7, 7))
    sky = np.array((215, 215, 252)) + rng.integers(-7, 7, size=3) + sky_shift
    cloud = jittered((247, 247, 247), rng, common=4, each=4)
    red, green, blue = (int(value) for value in np.clip(sky, 0, 255))
    cloud_red, cloud_green, cloud_blue = (
        min(max(value + int(sky_shift / 2), 0), 255) for value in cloud
    )
    return WalkerLook(
        sky=(red, green, blue),
        cloud=(cloud_red, cloud_green, cloud_blue),
        grounds=grounds,
        ground_lines=lines,
        heights=heights,
        clouds=[],
    )


def _build(env: Any, heights: list[float], blocks: list[Block]) -> None:
    """Put the ground into the world, as the library's own method would."""
    env.terrain = []
    for block in blocks:
        env.fd_polygon.shape.vertices = block
        body = env.world.CreateStaticBody(fixtures=env.fd_polygon)
        body.userData = SimpleNamespace(fill=BLOCK_COLOR, edge=BLOCK_EDGE_COLOR)
        env.terrain.append(body)
    for index in range(NUM_POINTS - 1):
        ends = [(STEP_M * at, heights[at]) for at in (index, index + 1)]
        env.fd_edge.shape.vertices = ends
        env.terrain.append(env.world.CreateStaticBody(fixtures=env.fd_edge))
    env.terrain.reverse()
