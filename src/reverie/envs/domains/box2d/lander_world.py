"""The moon, the pad and the lander's three bodies, built into the library's environment."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

PIXELS_PER_M = 30.0
WORLD_M = 400 / PIXELS_PER_M
HALF_WORLD_M = WORLD_M / 2
PAD_Y_M = WORLD_M / 4
REST_HEIGHT_M = 0.6
"""Of the lander's middle above the ground, when it stands."""
PARTICLE_RADIUS_M = 3 / PIXELS_PER_M
NUM_FLAT = 5
"""Points around the middle that lie at the height of the pad."""

_GROUND_BIT, _LANDER_BIT, _LEG_BIT, _PARTICLE_BIT = 0x001, 0x0010, 0x0020, 0x0100
_LEG_ANGLES = {-1: (0.4, 0.9), 1: (-0.9, -0.4)}
_MOON_FRICTION = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class LanderStart:
    """Where the lander is at first, in metres, and the push that it gets, in newtons."""

    x: float
    y: float
    force: tuple[float, float]


def build_world(
    env: Any,
    module: ModuleType,
    rng: np.random.Generator,
    draw_start: Callable[[tuple[float, float]], LanderStart],
) -> None:
    """Fill an environment of the library with a new world.

    Args:
        env: The library's environment; its ``step`` can be used afterwards.
        module: The module it comes from.
        rng: Where the shape of the moon comes from.
        draw_start: Called with the ends of the pad, once the moon is there.
    """
    import Box2D

    world: Any = Box2D.b2World(gravity=(0, env.gravity))
    # Box2D does not keep the listener alive.
    world.contactListener_keepref = module.ContactDetector(env)
    world.contactListener = world.contactListener_keepref
    env.world = world
    env.game_over, env.prev_shaping, env.particles = False, None, []
    _build_moon(env, module, rng)
    start = draw_start((env.helipad_x1, env.helipad_x2))
    _build_lander(env, module, start)
    env.legs = [_build_leg(env, module, start, side) for side in (-1, 1)]

    def create_particle(mass: float, x: float, y: float, ttl: float) -> Any:
        particle = env.world.CreateDynamicBody(
            position=(x, y),
            fixtures=module.fixtureDef(
                shape=module.circleShape(radius=PARTICLE_RADIUS_M),
                density=mass,
                friction=0.1,
                restitution=0.3,
                categoryBits=_PARTICLE_BIT,
                maskBits=_GROUND_BIT,
            ),
        )
        particle.ttl = ttl
        env.particles.append(particle)
        return particle

    env._create_particle = create_particle


def moon_heights(num_points: int, rng: np.random.Generator) -> list[float]:
    """Draw a smooth outline with the pad in its middle, in metres."""
    rough = rng.uniform(0.0, HALF_WORLD_M, size=num_points + 1)
    first = num_points // 2 - NUM_FLAT // 2
    rough[first : first + NUM_FLAT] = PAD_Y_M
    # The first point is smoothed with the last one, as index -1 is that.
    return [
        0.33 * float(rough[index - 1] + rough[index] + rough[index + 1])
        for index in range(num_points)
    ]


def _build_moon(env: Any, module: ModuleType, rng: np.random.Generator) -> None:
    num_points = (7, 9)[int(rng.integers(2))]
    xs = [WORLD_M * index / (num_points - 1) for index in range(num_points)]
    heights = moon_heights(num_points, rng)
    env.helipad_x1, env.helipad_x2 = xs[num_points // 2 - 1], xs[num_points // 2 + 1]
    env.helipad_y = PAD_Y_M
    env.moon = env.world.CreateStaticBody(shapes=module.edgeShape(vertices=[(0, 0), (WORLD_M, 0)]))
    env.sky_polys = []
    points = list(zip(xs, heights, strict=True))
    for left, right in zip(points, points[1:], strict=False):
        env.moon.CreateEdgeFixture(vertices=[left, right], density=0, friction=_MOON_FRICTION)
        env.sky_polys.append([left, right, (right[0], WORLD_M), (left[0], WORLD_M)])


def _build_lander(env: Any, module: ModuleType, start: LanderStart) -> None:
    env.lander = env.world.CreateDynamicBody(
        position=(start.x, start.y),
        fixtures=module.fixtureDef(
            shape=module.polygonShape(
                vertices=[(x / PIXELS_PER_M, y / PIXELS_PER_M) for x, y in module.LANDER_POLY]
            ),
            density=5.0,
            friction=0.1,
            restitution=0.0,
            categoryBits=_LANDER_BIT,
            maskBits=_GROUND_BIT,
        ),
    )
    env.lander.ApplyForceToCenter(start.force, True)


def _build_leg(env: Any, module: ModuleType, start: LanderStart, side: int) -> Any:
    away_m, down_m = module.LEG_AWAY / PIXELS_PER_M, module.LEG_DOWN / PIXELS_PER_M
    size_m = (module.LEG_W / PIXELS_PER_M, module.LEG_H / PIXELS_PER_M)
    leg = env.world.CreateDynamicBody(
        position=(start.x - side * away_m, start.y),
        angle=0.05 * side,
        fixtures=module.fixtureDef(
            shape=module.polygonShape(box=size_m),
            density=1.0,
            restitution=0.0,
            categoryBits=_LEG_BIT,
            maskBits=_GROUND_BIT,
        ),
    )
    leg.ground_contact = False
    lower, upper = _LEG_ANGLES[side]
    leg.joint = env.world.CreateJoint(
        module.revoluteJointDef(
            bodyA=env.lander,
            bodyB=leg,
            localAnchorA=(0, 0),
            localAnchorB=(side * away_m, down_m),
            enableMotor=True,
            enableLimit=True,
            maxMotorTorque=module.LEG_SPRING_TORQUE,
            motorSpeed=0.3 * side,
            lowerAngle=lower,
            upperAngle=upper,
        )
    )
    return leg
