"""What is usual in real play: the readings of ``verify`` at moments of stored episodes."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from reverie.core.errors import DataError
from reverie.core.seeds import child_seed, numpy_rng
from reverie.data.store import EpisodeEntry, EpisodeStore
from reverie.hallucination.acceptance import Acceptance, fit_acceptance
from reverie.hallucination.foresight import READINGS
from reverie.models.load import model_digest
from reverie.serve.service.inference import ServedModel, open_window, take_readings
from reverie.serve.service.window import Frames

OnMoment = Callable[[int, int], None]


def fit_service(
    model: ServedModel,
    folder: Path,
    store: EpisodeStore,
    *,
    moments_per_task: int = 400,
    alpha: float = 0.02,
    seed: int = 0,
    on_moment: OnMoment | None = None,
) -> Acceptance:
    """Take readings at random moments of real episodes, and fit what is usual to them.

    The action that is checked at each moment is the one that was really taken. Episodes that the
    model was trained on make the fit too strict; hold some back.

    Args:
        model: As it will be served.
        folder: Its folder, where the result is saved.
        store: Real episodes.
        moments_per_task: How many moments.
        alpha: Share of real moments that may be refused.
        seed: Draws the moments.
        on_moment: Told of progress.

    Raises:
        DataError: The store has no episode of any task of the model, or too few moments.
    """
    by_task = _episodes_by_task(model, store)
    found: dict[str, dict[str, np.ndarray]] = {}
    total, done = moments_per_task * len(by_task), 0
    for task, entries in by_task.items():
        rows: list[dict[str, float]] = []
        for number, (entry, step) in enumerate(_draw(entries, moments_per_task, task, seed)):
            frames, action = _moment(model, store, entry, step)
            drawn = child_seed(seed, "moment", task, number)
            _, readings = take_readings(model, open_window(model, frames, drawn), action, drawn)
            rows.append(readings)
            done += 1
            if on_moment is not None:
                on_moment(done, total)
        found[task] = {name: np.array([row.get(name, np.nan) for row in rows]) for name in READINGS}
    acceptance = fit_acceptance(
        found,
        model=model_digest(folder),
        precision=model.precision,
        foresight=model.foresight,
        alpha=alpha,
    )
    acceptance.save(folder)
    return acceptance


def _episodes_by_task(model: ServedModel, store: EpisodeStore) -> dict[str, list[EpisodeEntry]]:
    spec = model.world.tokenizer.frame_spec
    if store.frame_spec != spec:
        raise DataError(
            f"The model reads frames of {spec.height_px}x{spec.width_px}, the store at "
            f"'{store.path}' has {store.frame_spec.height_px}x{store.frame_spec.width_px}. "
            f"Collect at that size: --size-px {spec.height_px}"
        )
    by_task: defaultdict[str, list[EpisodeEntry]] = defaultdict(list)
    for entry in store.index:
        if entry.task in model.widths:
            by_task[entry.task].append(entry)
    if not by_task:
        raise DataError(
            f"The store at '{store.path}' has no episode of {', '.join(model.widths)}. Collect "
            f"some: reverie collect {next(iter(model.widths))}"
        )
    return by_task


def _draw(
    entries: list[EpisodeEntry], count: int, task: str, seed: int
) -> list[tuple[EpisodeEntry, int]]:
    """Draw moments with an action after them and at least one before them, without repeats."""
    places = [(entry, step) for entry in entries for step in range(1, entry.num_steps)]
    rng = numpy_rng(seed, "fit", task)
    chosen = rng.permutation(len(places))[:count]
    return [places[int(index)] for index in chosen]


def _moment(
    model: ServedModel, store: EpisodeStore, entry: EpisodeEntry, step: int
) -> tuple[Frames, np.ndarray]:
    first = max(0, step - model.max_frames + 1)
    window = store.read_window(entry.id, first, step - first + 1)
    assert window.frames is not None, "frames were asked for"
    frames = Frames(
        frames=window.frames,
        actions=window.actions[first:step],
        starts_episode=first == 0,
        task=entry.task,
    )
    return frames, window.actions[step]
