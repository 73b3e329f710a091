"""A finished model gets a place for further tasks; what it knows stays, bit for bit."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reverie.envs.registry import task_spec
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.language import LanguageSource, make_language_table
from reverie.models.load import make_world
from reverie.recipes.base import terminating

_HEADS = ("reward_head", "continue_head", "policy_head")


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """Where the instruction of a new task comes from, if the model keeps a table of them."""

    source: LanguageSource = "words"
    """``clip`` is what the MMBench2 release speaks; ``words`` needs no download. See
    ``models.language``."""
    file: str | None = None
    """Of ``stored`` embeddings."""


def extend_world(
    world: ShortcutWorld,
    tasks: tuple[str, ...],
    language: Language = Language(),  # noqa: B008 - frozen
) -> ShortcutWorld:
    """Return the same model, same weights, that also has a place for further tasks.

    A model that has agent tokens and no reward head gets an untrained one.

    Args:
        world: The model; its network and heads are copied, the tokenizer is shared.
        tasks: Names to add; known ones change nothing.
        language: Where their instructions come from.
    """
    new = tuple(task for task in tasks if task not in world.tasks)
    config = replace(world.net.config, tasks=world.tasks + new)
    # A new head's weights are drawn from torch's global generator, which is given back unchanged.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        copy = make_world(world.tokenizer, config, _heads(world, new))  # type: ignore[arg-type]
    state = world.net.state_dict()
    if config.embeds_tasks and new:
        known = world.net.task_embeddings
        state["task_embeddings"] = torch.cat([known, _instructions(new, known, language)])
    copy.net.load_state_dict(state)
    copy_heads(world, copy)
    return copy.to(world.device).eval().requires_grad_(False)


def copy_heads(source: nn.Module, target: nn.Module) -> None:
    """Copy the weights of the heads that both a model and another, or its objective, have."""
    for name in _HEADS:
        mine, other = getattr(source, name), getattr(target, name)
        if mine is not None and other is not None:
            other.load_state_dict(mine.state_dict())


def _heads(world: ShortcutWorld, new: tuple[str, ...]) -> HeadsConfig:
    heads = world.heads
    if world.net.config.num_agents:
        heads = replace(heads, has_reward=True)
    if not heads.has_continue:
        return heads
    return replace(heads, terminating_tasks=heads.terminating_tasks + terminating(new))


def _instructions(
    tasks: tuple[str, ...], known: Float[Tensor, "known e"], language: Language
) -> Float[Tensor, "task e"]:
    """Embed new instructions; those that something else made are as long as the known ones."""
    texts = {task: task_spec(task).instruction for task in tasks}
    file = None if language.file is None else Path(language.file)
    table = make_language_table(language.source, texts, width=known.shape[1], file=file)
    if table is None:
        return known.new_zeros(len(tasks), known.shape[1])
    rows = table.embeddings.to(known)
    lengths = known.norm(dim=1)
    if language.source == "words" and lengths.any():
        rows = rows * lengths[lengths > 0].mean()
    return rows
