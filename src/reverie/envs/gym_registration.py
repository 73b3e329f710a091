"""Every task by its name in gymnasium: ``gymnasium.make("reverie/pygame-pong")``."""

import gymnasium

from reverie.envs.registry import task_names

NAMESPACE = "reverie"


def register_tasks() -> None:
    """Register all tasks; gymnasium calls this when it is imported, through our entry point.

    No simulator is imported: that happens in ``gymnasium.make``.
    """
    for name in task_names():
        task_id = f"{NAMESPACE}/{name}"
        if task_id not in gymnasium.registry:
            gymnasium.register(
                id=task_id, entry_point="reverie.envs.gym_env:GymEnv", kwargs={"task": name}
            )
