"""The table of the MiniArcade domain. No simulator is imported here."""

from typing import Literal

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_MOVE_2D = ("move right", "move down")


def _task(
    name: str,
    instruction: str,
    action_names: tuple[str, ...],
    *,
    max_steps: int,
    score_rule: str,
    split: Literal["train", "unseen", "extra"] = "train",
    is_targeted: bool = False,
) -> TaskSpec:
    return TaskSpec(
        name=f"pygame-{name}",
        domain="miniarcade",
        instruction=instruction,
        action=ActionSpec(width=len(action_names)),
        action_names=action_names,
        max_steps=max_steps,
        score_rule=score_rule,
        split=split,
        is_targeted=is_targeted,
        factory="reverie.envs.domains.miniarcade.make:make_env",
        expert="reverie.envs.domains.miniarcade.make:make_controller",
    )


_THRUST_2D = ("thrust right", "thrust down")
_JUMP = ("jump",)
_PUSH = ("push right",)
_CARTPOLE_RULE = "clip(return / 500, 0, 1)"
_REACHER_RULE = "clip(return / 200, 0, 1)"
_TORQUES = ("shoulder torque", "elbow torque")
_MAZE_RULE = "1 if the goal is reached at the last step, else 0"

TASKS = (
    _task(
        "pong",
        "Score against an AI opponent",
        ("move down",),
        max_steps=500,
        score_rule="clip((return + 3) / 6, 0, 1)",
        is_targeted=True,
    ),
    *(
        _task(f"cartpole-{variant}", text, _PUSH, max_steps=500, score_rule=_CARTPOLE_RULE)
        for variant, text in (
            ("balance", "Balance the pole"),
            ("swingup", "Swing up the pole and balance it"),
            ("balance-sparse", "Balance the pole"),
            ("swingup-sparse", "Swing up the pole and balance it"),
            ("tremor", "Balance the pole amidst disturbances"),
        )
    ),
    _task(
        "point-maze-var1",
        "Navigate to the target location",
        _MOVE_2D,
        max_steps=200,
        score_rule=_MAZE_RULE,
        is_targeted=True,
    ),
    _task(
        "point-maze-var2",
        "Navigate to the green target",
        _MOVE_2D,
        max_steps=200,
        score_rule=_MAZE_RULE,
    ),
    _task(
        "point-maze-var3",
        "Go to the green target location",
        _MOVE_2D,
        max_steps=200,
        score_rule=_MAZE_RULE,
    ),
    _task(
        "point-maze-var4",
        "Navigate to the target location",
        _MOVE_2D,
        max_steps=200,
        score_rule=_MAZE_RULE,
        split="unseen",
        is_targeted=True,
    ),
    _task(
        "reacher-easy",
        "Reach for the red target",
        _TORQUES,
        max_steps=200,
        score_rule=_REACHER_RULE,
        split="unseen",
        is_targeted=True,
    ),
    _task(
        "reacher-hard",
        "Reach for the small red target",
        _TORQUES,
        max_steps=200,
        score_rule=_REACHER_RULE,
        split="extra",
    ),
    _task(
        "cowboy",
        "Jump to avoid obstacles",
        _JUMP,
        max_steps=500,
        score_rule="clip(return / 500, 0, 1)",
    ),
    _task(
        "coinrun",
        "Collect as many coins as possible",
        _JUMP,
        max_steps=500,
        score_rule="clip(return / 50, 0, 1)",
    ),
    _task(
        "spaceship",
        "Collect coins while avoiding asteroids",
        _THRUST_2D,
        max_steps=500,
        score_rule="clip(return / 60, 0, 1)",
    ),
    _task(
        "bird-attack",
        "Eliminate all enemies in a space-invaders style game",
        ("move right", "fire"),
        max_steps=500,
        score_rule="clip(return / 16, 0, 1)",
        is_targeted=True,
    ),
    _task(
        "highway",
        "Avoid collision with other vehicles",
        _THRUST_2D,
        max_steps=500,
        score_rule="clip(return / 10, 0, 1)",
    ),
    _task(
        "landing",
        "Land the helicopter on the moving ship",
        _THRUST_2D,
        max_steps=200,
        score_rule="clip(return / 200, 0, 1)",
    ),
    _task(
        "air-hockey",
        "Score points against the opponent",
        _MOVE_2D,
        max_steps=500,
        score_rule="clip(return / 10, 0, 1)",
    ),
    _task(
        "rocket-collect",
        "Collect coins while avoiding asteroids",
        _THRUST_2D,
        max_steps=500,
        score_rule="clip(return / 25, 0, 1)",
    ),
    _task(
        "chase-evade",
        "Take turns being the chaser or evader",
        _MOVE_2D,
        max_steps=500,
        score_rule="clip((return + 50) / 100, 0, 1)",
    ),
    _task(
        "coconut-dodge",
        "Dodge falling coconuts",
        ("thrust right",),
        max_steps=500,
        score_rule="clip((return + 15) / 15, 0, 1)",
    ),
    _task(
        "foraging",
        "Collect logs and bring them back to the home base",
        _MOVE_2D,
        max_steps=500,
        score_rule="clip(return / 100, 0, 1)",
        split="unseen",
        is_targeted=True,
    ),
    _task(
        "dungeon-explorer1",
        "Navigate the dungeon to find a treasure",
        _MOVE_2D,
        max_steps=250,
        score_rule="1 if the chest is open, else 0",
        split="unseen",
        is_targeted=True,
    ),
    _task(
        "whirlpool",
        "Catch the fish while avoiding the whirlpool at the center",
        _THRUST_2D,
        max_steps=500,
        score_rule="clip(return / 7, 0, 1)",
        split="unseen",
        is_targeted=True,
    ),
)
