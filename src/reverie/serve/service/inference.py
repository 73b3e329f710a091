"""What each endpoint computes. Plain functions of a model and frames: no web, no state."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from reverie.core.batch import Batch
from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.hallucination.acceptance import Acceptance
from reverie.hallucination.foresight import (
    HINDCAST_STEPS,
    Choose,
    Foresight,
    ForesightConfig,
    judge_past,
)
from reverie.hallucination.foresight import look_ahead as dream_ahead
from reverie.models.api import WorldModel
from reverie.models.classic.controller import ControllerConfig, act
from reverie.models.classic.world import ClassicWorld
from reverie.serve.service.memory import Newest
from reverie.serve.service.window import Frames, PictureMemory

Precision = Literal["int8", "float32"]
Verdict = Literal["accept", "reject", "unjudged"]
_NUM_WINDOWS = 32
"""Windows that a worker remembers."""
_NO_CONTROLLER = (
    "This model has no controller. Name the actions, or serve a model that a recipe such as "
    "'reverie train cartpole-dream' made."
)


class NoControllerError(ConfigError):
    """The model cannot act by itself."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ServedModel:
    """One frozen model with all that the endpoints need."""

    name: str
    family: str
    world: WorldModel
    widths: Mapping[str, int]
    """Task to the lanes of its actions."""
    controller: tuple[ControllerConfig, Float[Tensor, " p"]] | None = None
    acceptance: Acceptance | None = None
    foresight: ForesightConfig = ForesightConfig()
    precision: Precision = "float32"
    float_layers: tuple[str, ...] = ()
    windows: "Newest[bytes, Opened]" = field(default_factory=lambda: Newest(_NUM_WINDOWS))
    """Who has an action verified mostly acts on it next."""
    pictures: PictureMemory = field(default_factory=PictureMemory)

    @property
    def max_frames(self) -> int:
        """Most frames of a window: one more than are read, for the action that led to those."""
        return self.world.max_context + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a caller demands of an action."""

    min_confidence: float | None = None
    min_survival: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Check:
    """What was found of one action."""

    verdict: Verdict
    reasons: tuple[str, ...]
    confidence: float | None
    threshold: float | None
    readings: Mapping[str, float]
    survival: float
    expected_return: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opened:
    """A window that the model has read, once for all that is asked of it."""

    task: str
    state: Any
    """At the newest frame."""
    past: Any
    """Some frames before it; None where the window has one frame."""
    actions: Float[Tensor, "1 k a"]
    """What led from there to the newest frame."""
    real: Float[Tensor, "1 k n d"]
    """Latents of those frames."""


def open_window(model: ServedModel, frames: Frames, seed: int) -> Opened:
    """Read a window, or remember it.

    Only the classic family's are remembered: they take some kilobytes, and hold no noise.
    """
    if not isinstance(model.world, ClassicWorld):
        return read_window(model, frames, seed)
    digest = hashlib.blake2b(frames.frames.tobytes(), digest_size=16)
    digest.update(frames.actions.tobytes())
    digest.update(f"{frames.frames.shape} {frames.starts_episode} {frames.task}".encode())
    return model.windows.get(digest.digest(), lambda: read_window(model, frames, seed))


@torch.no_grad()
def read_window(model: ServedModel, frames: Frames, seed: int) -> Opened:
    """Read a window. The classic family acts on means, as it does when deployed."""
    world = model.world
    context = frames.to_batch(action_width=world.action_width)
    steps = min(HINDCAST_STEPS, context.num_frames - 1)
    begun = context.num_frames - steps
    if isinstance(world, ClassicWorld):
        states, latents = _read_classic(world, context, begun)
    else:
        assert context.frames is not None, "a window has frames"
        latents, _ = world.tokenizer.encode(context.frames)
        noise = world.draw_context_noise(1, context.num_frames, _rng(world, seed, "context"))
        states = [world.start(context, noise)]
        if steps:
            states.append(world.start(context.slice_time(0, begun), noise[:, :begun]))
    return Opened(
        task=frames.task,
        state=states[0],
        past=states[1] if steps else None,
        actions=context.prev_actions[:, begun:],
        real=latents[:, begun:],
    )


def _read_classic(
    world: ClassicWorld, context: Batch, begun: int
) -> tuple[list[Any], Float[Tensor, "1 t 1 d"]]:
    """Encode every frame once, for the newest state and the one before the hindcast."""
    assert context.frames is not None, "a window has frames"
    means, _, _ = world.vae.encode_posterior(context.frames)
    is_first = world.resets(context.is_first)
    past = state = world.start_from_latents(
        means[:, :begun],
        prev_actions=context.prev_actions[:, :begun],
        is_first=is_first[:, :begun],
        action_mask=context.action_mask,
        task=context.task,
    )
    for index in range(begun, context.num_frames):
        latent = means[:, index : index + 1]
        state = world.follow(state, context.prev_actions[:, index], latent, is_first[:, index])
    return [state, past], means[:, :, None]


@torch.no_grad()
def encode(model: ServedModel, frames: Frames) -> Float32[np.ndarray, "t n d"]:
    """Return the latent of every frame."""
    latents, _ = model.world.tokenizer.encode(torch.from_numpy(frames.frames)[None])
    return latents[0].float().cpu().numpy()


def imagine(
    model: ServedModel,
    frames: Frames,
    actions: Float32[np.ndarray, "h a"] | None,
    config: ForesightConfig,
    seed: int,
) -> Foresight:
    """Dream under the given actions, or under the controller.

    Raises:
        NoControllerError: No actions were given and the model has no controller.
    """
    choose = _by_controller(model) if actions is None else _by_list(model, actions)
    state = open_window(model, frames, seed).state
    return dream_ahead(
        model.world, state, choose, config=config, rng=_rng(model.world, seed, "noise")
    )


def show(model: ServedModel, foresight: Foresight) -> np.ndarray:
    """Decode the first dream: frames (h, height, width, 3)."""
    frames, _ = model.world.tokenizer.decode(foresight.latents)
    return frames[0].cpu().numpy()


def choose_action(model: ServedModel, opened: Opened) -> Float32[np.ndarray, " a"]:
    """Let the controller act at the newest frame.

    Raises:
        NoControllerError: There is none.
    """
    choose = _by_controller(model)
    width = model.widths[opened.task]
    return choose(opened.state, 0)[0, :width].cpu().numpy().astype(np.float32)


def check_action(
    model: ServedModel,
    opened: Opened,
    action: Float32[np.ndarray, " a"],
    limits: Limits,
    seed: int,
) -> Check:
    """Dream ahead of an action and compare with what is usual in real play.

    After the action the controller goes on, or the action is held where there is none.
    """
    foresight, readings = take_readings(model, opened, action, seed)
    survival = float(foresight.survival[0, -1])
    confidence, threshold = None, limits.min_confidence
    if model.acceptance is not None:
        confidence = model.acceptance.confidence(opened.task, readings)
        if threshold is None:
            threshold = model.acceptance.threshold(opened.task)
    verdict, reasons = _judge(readings, confidence, threshold, survival, limits)
    return Check(
        verdict=verdict,
        reasons=reasons,
        confidence=confidence,
        threshold=threshold,
        readings=readings,
        survival=survival,
        expected_return=float(foresight.returns[0]),
    )


def take_readings(
    model: ServedModel, opened: Opened, action: Float32[np.ndarray, " a"], seed: int
) -> tuple[Foresight, dict[str, float]]:
    """Dream ahead of an action; return the dreams and the largest reading of each kind.

    ``surprise`` is left out where the window has a single frame: nothing could be foretold.
    """
    world = model.world
    goes_on = None if model.controller is None else _by_controller(model)
    lanes = _padded(world, action[None])

    def choose(state: Any, step: int) -> Tensor:
        if step == 0 or goes_on is None:
            return lanes.expand(state.num_rows, -1)
        return goes_on(state, step)

    foresight = dream_ahead(
        world,
        opened.state,
        choose,
        config=model.foresight,
        rng=_rng(world, seed, "noise"),
    )
    readings = {name: float(values[0]) for name, values in foresight.largest.items()}
    if opened.past is not None:
        surprise = judge_past(
            world,
            opened.past,
            opened.actions,
            opened.real,
            num_samples=model.foresight.num_samples,
            rng=_rng(world, seed, "hindcast"),
        )
        readings["surprise"] = float(surprise[0])
    return foresight, readings


def _judge(
    readings: Mapping[str, float],
    confidence: float | None,
    threshold: float | None,
    survival: float,
    limits: Limits,
) -> tuple[Verdict, tuple[str, ...]]:
    reasons: list[str] = []
    if not all(math.isfinite(value) for name, value in readings.items() if name != "u_f"):
        reasons.append("a reading is not a finite number")
    if confidence is not None and threshold is not None and confidence < threshold:
        reasons.append(
            f"the confidence {confidence:.4g} is below {threshold:.4g}: real play hardly looks so"
        )
    # A survival that is not a number is refused too.
    if limits.min_survival is not None and not survival >= limits.min_survival:
        reasons.append(f"the dream survives with {survival:.4g}, below {limits.min_survival:.4g}")
    if reasons:
        return "reject", tuple(reasons)
    if confidence is None:
        text = (
            "what is usual in real play was not fitted for this task: reverie serve fit MODEL STORE"
        )
        return "unjudged", (text,)
    return "accept", ()


def _by_list(model: ServedModel, actions: Float32[np.ndarray, "h a"]) -> Choose:
    lanes = _padded(model.world, actions)

    def choose(state: Any, step: int) -> Tensor:
        return lanes[step].expand(state.num_rows, -1)

    return choose


def _by_controller(model: ServedModel) -> Choose:
    world = model.world
    if model.controller is None or not isinstance(world, ClassicWorld):
        raise NoControllerError(_NO_CONTROLLER)
    config, parameters = model.controller

    def choose(state: Any, step: int) -> Tensor:
        features = world.features(state)
        chosen = act(config, parameters[None], rearrange(features, "r m -> r 1 m"))[:, 0]
        return functional.pad(chosen, (0, world.action_width - chosen.shape[1]))

    return choose


def _padded(world: WorldModel, actions: Float32[np.ndarray, "h a"]) -> Float[Tensor, "h w"]:
    lanes = torch.tensor(actions, device=world.device)
    return functional.pad(lanes, (0, world.action_width - lanes.shape[1]))


def _rng(world: WorldModel, seed: int, purpose: str) -> torch.Generator:
    rng = torch.Generator(device=world.device)
    rng.manual_seed(child_seed(seed, "service", purpose))
    return rng
