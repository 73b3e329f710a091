"""What is to be collected: a list of episodes, each with a name of its own."""

from dataclasses import dataclass, field

from reverie.collect.policies import POLICIES
from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.core.types import DEFAULT_QUALITY, FrameSpec, RenderQuality
from reverie.envs.registry import task_spec


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectOrder:
    """Tasks, behaviours and how many episodes; the same order always means the same episodes."""

    tasks: tuple[str, ...]
    policies: dict[str, float] = field(default_factory=lambda: {"mixed": 1.0})
    """Share of the episodes of every task that each behaviour plays."""
    episodes_per_task: int = 10
    """Raising it keeps the episodes that are there and adds to them."""
    seed: int = 0
    frame: FrameSpec = field(default_factory=FrameSpec)
    codec: str = "webp"
    quality: RenderQuality = added(DEFAULT_QUALITY)
    """How tasks are drawn whose drawing is ours."""
    step_limits: tuple[int, ...] = ()
    """Dealt to the episodes in turn, each ending one before the task's own limit; empty leaves
    episodes whole. Many short episodes show more starts (goals, layouts, looks) than few long
    ones of as many frames; a long one now and then shows what lies far from a start."""

    def __post_init__(self) -> None:
        """Refuse unknown names, and numbers that cannot work."""
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ConfigError(f"Name each task once and at least one, got {self.tasks}.")
        for task in self.tasks:
            task_spec(task)
        for name, weight in self.policies.items():
            POLICIES.target(name)
            if not weight > 0:
                raise ConfigError(f"Policy '{name}' needs a weight above 0, got {weight}.")
        if not self.policies:
            raise ConfigError(f"Name at least one policy of: {', '.join(POLICIES)}.")
        if self.episodes_per_task < 1 or any(limit < 1 for limit in self.step_limits):
            raise ConfigError(
                f"episodes_per_task and step_limits must be at least 1, got "
                f"{self.episodes_per_task} and {self.step_limits}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderItem:
    """One episode of an order."""

    task: str
    policy: str
    index: int
    seed: int
    max_steps: int | None

    @property
    def id(self) -> str:
        """The episode's name in the store: what is listed there is not collected again."""
        limit = "" if self.max_steps is None else f"/{self.max_steps}"
        return f"{self.task}/{self.policy}/{self.index:06d}/{self.seed}{limit}"


def list_items(order: CollectOrder) -> list[OrderItem]:
    """Name every episode of an order, task by task."""
    policies = assign_policies(order.policies, order.episodes_per_task)
    limits = order.step_limits or (None,)
    return [
        OrderItem(
            task=task,
            policy=policy,
            index=index,
            seed=child_seed(order.seed, "collect", task, index),
            max_steps=limits[index % len(limits)],
        )
        for task in order.tasks
        for index, policy in enumerate(policies)
    ]


def assign_policies(weights: dict[str, float], num_episodes: int) -> list[str]:
    """Deal behaviours to episodes by their weights.

    The next episode always goes to the behaviour that is furthest behind its share, so every
    beginning of the list keeps the shares too, and a longer list begins with the shorter one.
    """
    total = sum(weights.values())
    given = dict.fromkeys(weights, 0)
    dealt: list[str] = []
    for index in range(num_episodes):
        behind = {name: weights[name] / total * (index + 1) - given[name] for name in weights}
        name = max(behind, key=lambda candidate: behind[candidate])
        given[name] += 1
        dealt.append(name)
    return dealt
