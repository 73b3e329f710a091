"""Every task by its name in gymnasium; importing this module registers them, as such modules do.

``import reverie.envs.gym``, then ``gymnasium.make("reverie/pygame-pong")``; or in one line
``gymnasium.make("reverie.envs.gym:reverie/pygame-pong")``.
"""

import gymnasium

from reverie.envs.registry import task_names

NAMESPACE = "reverie"


def register_tasks() -> None:
    """Register all tasks, once. No simulator is imported: that happens in ``gymnasium.make``."""
    for name in task_names():
        task_id = f"{NAMESPACE}/{name}"
        if task_id not in gymnasium.registry:
            gymnasium.register(
                id=task_id, entry_point="reverie.envs.gym_env:GymEnv", kwargs={"task": name}
            )


register_tasks()
