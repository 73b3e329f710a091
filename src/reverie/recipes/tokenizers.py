"""The comparison of tokenizers: ours and those off the shelf on the same tasks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reverie.collect.policies import make_policy
from reverie.core.errors import ConfigError, DataError
from reverie.core.files import write_bytes, write_json
from reverie.core.types import Episode, FrameSpec
from reverie.data.store import EpisodeStore
from reverie.envs.registry import task_spec
from reverie.evaluate.live import MOVING_BEHAVIOUR, LiveConfig, collect_heldout
from reverie.evaluate.tokenizers import (
    VIDEO_FRAMES,
    TokenizerClip,
    cut_videos,
    markdown,
    measure_tokenizer,
    summarise,
)
from reverie.models.api import TokenizerProtocol
from reverie.models.load import load_world_model, resolve_model
from reverie.models.perceptual import PerceptualConfig, load_perceptual
from reverie.models.tokenizer.shelf import is_shelf_source, load_shelf_tokenizer

SHELF_SIDE_PX = 224
"""The benchmark's frames; a multiple of 8 and of 32."""
_MAX_STEPS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerComparison:
    """One call of ``reverie evaluate tokenizers``."""

    tokenizers: tuple[str, ...]
    """Models of ours (names or folders) and tokenizers off the shelf (folders or NAME@COMMIT)."""
    tasks: tuple[str, ...] = ()
    """Empty means those of the store, or of the first of our models."""
    data: Path | None = None
    """A store of held-out episodes; None plays live ones at each tokenizer's size."""
    num_episodes: int = 4
    """Per task."""
    num_videos: int = 8
    """Per task."""
    num_frames: int = VIDEO_FRAMES
    side_px: int = SHELF_SIDE_PX
    """Side of the frames for tokenizers off the shelf, where episodes are played live."""
    behaviour: str = MOVING_BEHAVIOUR
    lpips: PerceptualConfig = PerceptualConfig()
    """LPIPS with its files, or nothing: then it is not measured."""
    device: str = "cpu"


def compare_tokenizers(
    order: TokenizerComparison, out: Path, *, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Measure every tokenizer on every task; write ``tokenizers.json`` and ``tokenizers.md``.

    Returns:
        For each tokenizer the numbers of ``summarise``.
    """
    if order.lpips.kind == "pyramid":
        raise ConfigError("The pyramid is no LPIPS. Give the files of LPIPS, or leave it out.")
    device = torch.device(order.device)
    lpips = load_perceptual(order.lpips, device=device)
    store = None if order.data is None else EpisodeStore.open(order.data)
    loaded = {name: _load(name, order, store) for name in order.tokenizers}
    tasks = order.tasks or _tasks(loaded, store)
    rows: dict[str, Any] = {}
    for name, (tokenizer, _) in loaded.items():
        clips: list[TokenizerClip] = []
        for task in tasks:
            say(f"{name}: {task}")
            episodes = _episodes(task, tokenizer.frame_spec, order, store)
            videos = cut_videos(episodes, num_frames=order.num_frames, num_videos=order.num_videos)
            clips.append(
                measure_tokenizer(
                    tokenizer,
                    videos,
                    task=task,
                    domain=task_spec(task).domain,
                    device=device,
                    lpips=lpips,
                )
            )
        module: Any = tokenizer
        count = sum(value.numel() for value in module.parameters())
        rows[name] = summarise(tokenizer, clips, num_parameters=count)
    write_json(out / "tokenizers.json", {"device": order.device, "tokenizers": rows})
    write_bytes(out / "tokenizers.md", (markdown(rows) + "\n").encode())
    return rows


def _load(
    name: str, order: TokenizerComparison, store: EpisodeStore | None
) -> tuple[TokenizerProtocol, tuple[str, ...]]:
    """Return a tokenizer and the tasks that its model knows."""
    if is_shelf_source(name):
        size = FrameSpec(height_px=order.side_px, width_px=order.side_px)
        size = size if store is None else store.spec.frame
        return load_shelf_tokenizer(name, size, device=order.device), ()
    world = load_world_model(resolve_model(name), device=order.device)
    if store is not None and world.tokenizer.frame_spec != store.spec.frame:
        raise ConfigError(
            f"'{name}' reads frames of {world.tokenizer.frame_spec.shape}, the store has "
            f"{store.spec.frame.shape}. Leave --data out: live episodes are drawn at every size."
        )
    return world.tokenizer, world.tasks


def _tasks(
    loaded: dict[str, tuple[TokenizerProtocol, tuple[str, ...]]], store: EpisodeStore | None
) -> tuple[str, ...]:
    if store is not None:
        return tuple(sorted({entry.task for entry in store.index}))
    for _, tasks in loaded.values():
        if tasks:
            return tasks
    raise ConfigError("Tokenizers off the shelf know no tasks: name some with --tasks.")


def _episodes(
    task: str, size: FrameSpec, order: TokenizerComparison, store: EpisodeStore | None
) -> Sequence[Episode]:
    if store is None:
        live = LiveConfig(num_episodes=order.num_episodes, max_steps=_MAX_STEPS)
        return collect_heldout(
            task, frame_spec=size, make_policy=lambda _: make_policy(order.behaviour), config=live
        )
    entries = [entry for entry in store.index if entry.task == task][: order.num_episodes]
    if not entries:
        raise DataError(f"The store at '{store.path}' has no episodes of '{task}'.")
    return [store.read_episode(entry.id) for entry in entries]
