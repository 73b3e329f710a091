"""Between messages and inference: what each request means, and how the answer is written."""

import time
from typing import Any

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from reverie.core.errors import ShapeError, UnknownNameError
from reverie.core.registry import unknown_name_message
from reverie.hallucination.foresight import READINGS, ForesightConfig
from reverie.serve.protocol import finite_or_none
from reverie.serve.service import inference
from reverie.serve.service.inference import Check, Limits, Opened, ServedModel
from reverie.serve.service.messages import (
    ActRequest,
    ActResponse,
    EncodeRequest,
    EncodeResponse,
    ImagineRequest,
    ImagineResponse,
    ObserveRequest,
    Readings,
    Step,
    VerifyRequest,
    VerifyResponse,
    Window,
)
from reverie.serve.service.sessions import Sessions
from reverie.serve.service.window import (
    Frames,
    Track,
    check_steps,
    read_action,
    write_frame,
)

AnySource = EncodeRequest | ImagineRequest | ActRequest | VerifyRequest


def find_task(model: ServedModel, task: str | None) -> str:
    """Return the task that is meant; the model's first one by default.

    Raises:
        UnknownNameError: The model does not know it.
    """
    names = tuple(model.widths)
    if task is None:
        return names[0]
    if task not in names:
        hint = f"The model '{model.name}' can dream: {', '.join(names)}"
        raise UnknownNameError(unknown_name_message("task", task, names, hint))
    return task


def read_source(model: ServedModel, sessions: Sessions, body: AnySource) -> Frames:
    """Return the frames that a request posts, or names by its session."""
    if body.window is not None:
        return read_window(model, body.window)
    assert body.session is not None, "the schema demands a window or a session"
    return sessions.track(body.session).snapshot()


def read_window(model: ServedModel, window: Window) -> Frames:
    """Decode a posted window.

    Raises:
        ShapeError: Its frames or actions do not fit the model or each other.
    """
    task = find_task(model, window.task)
    if len(window.frames) > model.max_frames:
        raise ShapeError(
            f"This model reads windows of up to {model.max_frames} frames, got "
            f"{len(window.frames)}. Send the newest ones."
        )
    check_steps(len(window.frames), len(window.actions))
    spec = model.world.tokenizer.frame_spec
    width = model.widths[task]
    actions = [read_action(values, width) for values in window.actions]
    return Frames(
        frames=np.stack([model.pictures.read(text, window.format, spec) for text in window.frames]),
        actions=np.array(actions, np.float32).reshape(-1, width),
        starts_episode=window.starts_episode,
        task=task,
    )


def make_track(model: ServedModel, task: str | None) -> Track:
    """Prepare the memory of a session."""
    name = find_task(model, task)
    return Track(task=name, width=model.widths[name], capacity=model.max_frames)


def observe(model: ServedModel, track: Track, body: ObserveRequest) -> None:
    """Take the newest frame of a session in."""
    action = None if body.action is None else read_action(body.action, track.width)
    frame = model.pictures.read(body.frame, body.format, model.world.tokenizer.frame_spec)
    track.add(frame, action)


def encode(model: ServedModel, frames: Frames) -> EncodeResponse:
    """Answer ``/encode``."""
    begun_s = time.perf_counter()
    latents = inference.encode(model, frames)
    return EncodeResponse(
        latents=latents.tolist(),
        scale=model.world.latent_spec.scale,
        latency_ms=_since_ms(begun_s),
    )


def imagine(model: ServedModel, frames: Frames, body: ImagineRequest) -> ImagineResponse:
    """Answer ``/imagine``."""
    begun_s = time.perf_counter()
    actions = _read_actions(model, frames.task, body.actions)
    config = ForesightConfig(
        num_samples=body.num_samples,
        horizon=body.horizon if actions is None else len(actions),
    )
    found = inference.imagine(model, frames, actions, config, body.seed)
    width = model.widths[frames.task]
    steps = [
        Step(
            reward=_number(found.rewards[0, step]),
            continues=_number(found.continues[0, step]),
            survival=_number(found.survival[0, step]),
            action=found.actions[0, step, :width].tolist(),
            **{name: _number(values[0, step]) for name, values in found.readings.items()},
        )
        for step in range(config.horizon)
    ]
    pictures = None
    if body.with_frames:
        pictures = [write_frame(frame) for frame in inference.show(model, found)]
    return ImagineResponse(
        steps=steps,
        expected_return=_number(found.returns[0]),
        frames=pictures,
        latents=found.latents[0].tolist() if body.with_latents else None,
        latency_ms=_since_ms(begun_s),
    )


def verify(model: ServedModel, frames: Frames, body: VerifyRequest) -> VerifyResponse:
    """Answer ``/verify``."""
    action = read_action(body.action, model.widths[frames.task])
    begun_s = time.perf_counter()
    opened = inference.open_window(model, frames, body.seed)
    return _check(model, opened, action, body, begun_s)


def decide(model: ServedModel, frames: Frames, body: ActRequest) -> ActResponse:
    """Answer ``/act``."""
    begun_s = time.perf_counter()
    fallback = body.fallback_action
    if fallback is not None:
        read_action(fallback, model.widths[frames.task])
    opened = inference.open_window(model, frames, body.seed)
    action = inference.choose_action(model, opened)
    verification = None
    if body.verify:
        verification = _check(model, opened, action, body, time.perf_counter())
    if verification is None or verification.verdict != "reject":
        return ActResponse(
            action=action.tolist(),
            source="controller",
            verification=verification,
            latency_ms=_since_ms(begun_s),
        )
    return ActResponse(
        action=fallback,
        source="abstain" if fallback is None else "fallback",
        verification=verification,
        latency_ms=_since_ms(begun_s),
    )


def _check(
    model: ServedModel,
    opened: Opened,
    action: Float32[np.ndarray, " a"],
    body: VerifyRequest | ActRequest,
    begun_s: float,
) -> VerifyResponse:
    limits = Limits(min_confidence=body.min_confidence, min_survival=body.min_survival)
    check: Check = inference.check_action(model, opened, action, limits, body.seed)
    readings: dict[str, Any] = {name: _number(check.readings.get(name)) for name in READINGS}
    return VerifyResponse(
        verdict=check.verdict,
        reasons=list(check.reasons),
        confidence=_number(check.confidence),
        threshold=_number(check.threshold),
        readings=Readings(**readings),
        survival=_number(check.survival),
        expected_return=_number(check.expected_return),
        horizon=model.foresight.horizon,
        num_samples=model.foresight.num_samples,
        latency_ms=_since_ms(begun_s),
    )


def _read_actions(
    model: ServedModel, task: str, actions: list[list[float]] | None
) -> Float32[np.ndarray, "h a"] | None:
    if actions is None:
        return None
    return np.stack([read_action(values, model.widths[task]) for values in actions])


def _number(value: float | Tensor | None) -> float | None:
    return None if value is None else finite_or_none(float(value))


def _since_ms(begun_s: float) -> float:
    return round((time.perf_counter() - begun_s) * 1000, 3)
