"""Scenes of the extended tasks: which body, how an episode begins, what is paid.

Each reward is per control step and lies in [0, 1].
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dm_control.rl.control import compute_n_steps
from dm_control.suite import ball_in_cup, cheetah, hopper, pendulum, reacher, walker
from dm_control.utils.rewards import tolerance

from reverie.envs.domains.dmcontrol.game import SuiteScene
from reverie.envs.domains.dmcontrol_ext import models

INFINITY = math.inf

REACHER_EASY_M, REACHER_HARD_M = 0.05, 0.015
"""Radius of the target."""
ANYWHERE_CHANCE = 0.1
"""Chance that cup-spin begins with the ball anywhere, not only inside the cup."""

Reward = Callable[[Any], float]


def make_scene(name: str) -> SuiteScene:
    """Build the scene of an extended task by its name."""
    return _SCENES[name]()


def _walker(target_speed: float) -> SuiteScene:
    def reward(physics: Any) -> float:
        standing = high(physics.torso_height(), 1.2, 0.6)
        stand = (3 * standing + (1 + physics.torso_upright()) / 2) / 4
        move = at_most(physics.horizontal_velocity(), target_speed, -target_speed / 2, 0.5)
        return stand * (5 * move + 1) / 6

    task = walker.PlanarWalker(move_speed=0)
    return _scene(walker.Physics, models.walker_xml(), task, reward, walker._CONTROL_TIMESTEP)


def _cheetah(reward: Reward) -> SuiteScene:
    return _scene(cheetah.Physics, models.cheetah_xml(), cheetah.Cheetah(), reward)


def _own_body(name: str, reward: Reward) -> SuiteScene:
    # The cheetah's rules of beginning and observing hold for all bodies of its kind.
    return _scene(cheetah.Physics, models.own_xml(name), cheetah.Cheetah(), reward)


def _hopper_backward() -> SuiteScene:
    def reward(physics: Any) -> float:
        standing = 0.6 <= physics.height() <= 2.0
        return standing * at_most(physics.speed(), -1.0, 0.5, 0.5)

    task, step_s = hopper.Hopper(hopping=True), hopper._CONTROL_TIMESTEP
    return _scene(hopper.Physics, models.stock_xml("hopper"), task, reward, step_s)


def _pendulum_spin() -> SuiteScene:
    def reward(physics: Any) -> float:
        return at_least(abs(float(physics.angular_velocity()[0])), 9.0, 4.5, 0.5)

    return _scene(pendulum.Physics, models.stock_xml("pendulum"), pendulum.SwingUp(), reward)


def _cup_spin() -> SuiteScene:
    def reward(physics: Any) -> float:
        if physics.in_target():
            return 0.0
        distance = float(np.linalg.norm(physics.ball_to_target()))
        speed = float(np.linalg.norm(physics.named.data.qvel[["ball_x", "ball_z"]]))
        return (at_least(distance, 0.5, 0.25, 0.5) + 2 * at_least(speed, 6.0, 3.0, 0.5)) / 3

    step_s = ball_in_cup._CONTROL_TIMESTEP
    xml = models.stock_xml("ball_in_cup")
    return _scene(ball_in_cup.Physics, xml, CupSpin(), reward, step_s)


class CupSpin(ball_in_cup.BallInCup):
    """Ball in cup that mostly begins with the ball inside the cup."""

    def initialize_episode(self, physics: Any) -> None:
        """Draw places of the ball until one touches nothing and is where it should be."""
        is_anywhere = self.random.uniform() < ANYWHERE_CHANCE
        while True:
            super().initialize_episode(physics)
            if is_anywhere or physics.in_target():
                return


def _reacher(target_m: float) -> SuiteScene:
    task = reacher.Reacher(target_size=target_m)

    def reward(physics: Any) -> float:
        return float(task.get_reward(physics))

    return _scene(reacher.Physics, models.reacher_xml(), task, reward)


def run_backward(physics: Any) -> float:
    """Pay for the cheetah's speed backward, in full from 8 m/s."""
    return at_most(physics.speed(), -8.0, 8.0, 0.0)


def run_on(foot_in_air: str) -> Reward:
    """Pay for running with one foot held high."""

    def reward(physics: Any) -> float:
        foot = high(height(physics, foot_in_air), 1.2, 0.6)
        torso = high(height(physics, "torso"), 1.2, 0.6)
        up = (3 * foot + 2 * torso) / 5
        return up * (5 * at_least(physics.speed(), 6.0, 6.0, 0.0) + 1) / 6

    return reward


def cheetah_jump(physics: Any) -> float:
    """Pay for torso and both feet high above the ground, without running."""

    def stand(foot: str) -> float:
        middle = (height(physics, "torso") + height(physics, foot)) / 2
        still = tolerance(
            physics.speed(), (-0.5, 0.5), margin=0.5, value_at_margin=0.0, sigmoid="linear"
        )
        return (5 * high(middle, 1.2, 0.6) + float(still)) / 6

    return (stand("bfoot") + stand("ffoot")) / 2


def jump(physics: Any) -> float:
    """Pay for the height of a ball-shaped torso, in full from 1.5 m."""
    return high(height(physics, "torso"), 1.5, 0.75)


def spin(direction: int) -> Reward:
    """Pay for rolling: turning and moving, both forward (1) or backward (-1)."""

    def reward(physics: Any) -> float:
        turning = float(physics.named.data.subtree_angmom["torso", "y"])
        roll = at_least(direction * turning, 8.0, 8.0, 0.0)
        return (2 * roll + 3 * at_least(direction * physics.speed(), 8.0, 8.0, 0.0)) / 5

    return reward


def giraffe_run(physics: Any) -> float:
    """Pay for speed with the head up."""
    head = high(height(physics, "head"), 0.5, 0.25)
    return head * (3 * at_least(physics.speed(), 10.0, 10.0, 0.0) + 1) / 4


def height(physics: Any, body: str) -> float:
    """Return the height of a body's frame above the ground, m."""
    return float(physics.named.data.xpos[body, "z"])


def high(value: float, bound: float, margin: float) -> float:
    """Return 1 from a bound upward, falling as a bell curve to 0.1 a margin below it."""
    return float(tolerance(value, (bound, INFINITY), margin))


def at_least(value: float, bound: float, margin: float, value_at_margin: float) -> float:
    """Return 1 from a bound upward, falling in a straight line below it."""
    bounds = (bound, INFINITY)
    return float(
        tolerance(value, bounds, margin, sigmoid="linear", value_at_margin=value_at_margin)
    )


def at_most(value: float, bound: float, margin: float, value_at_margin: float) -> float:
    """Return 1 from a bound downward, falling in a straight line above it."""
    return at_least(-value, -bound, margin, value_at_margin)


def _scene(
    physics_kind: Any, xml: bytes, task: Any, reward: Reward, step_s: float | None = None
) -> SuiteScene:
    physics = physics_kind.from_xml_string(xml, models.ASSETS)
    physics.legacy_step = True
    num_substeps = 1 if step_s is None else compute_n_steps(step_s, physics.timestep())
    return SuiteScene(physics=physics, task=task, reward=reward, num_substeps=num_substeps)


_SCENES: dict[str, Callable[[], SuiteScene]] = {
    "walker-walk-backward": lambda: _walker(-1.0),
    "walker-run-backward": lambda: _walker(-8.0),
    "cheetah-run-backward": lambda: _cheetah(run_backward),
    "cheetah-run-front": lambda: _cheetah(run_on("bfoot")),
    "cheetah-run-back": lambda: _cheetah(run_on("ffoot")),
    "cheetah-jump": lambda: _cheetah(cheetah_jump),
    "hopper-hop-backward": _hopper_backward,
    "reacher-three-easy": lambda: _reacher(REACHER_EASY_M),
    "reacher-three-hard": lambda: _reacher(REACHER_HARD_M),
    "cup-spin": _cup_spin,
    "pendulum-spin": _pendulum_spin,
    "jumper-jump": lambda: _own_body("jumper", jump),
    "spinner-spin": lambda: _own_body("spinner", spin(1)),
    "spinner-spin-backward": lambda: _own_body("spinner", spin(-1)),
    "spinner-jump": lambda: _own_body("spinner", jump),
    "giraffe-run": lambda: _own_body("giraffe", giraffe_run),
}
