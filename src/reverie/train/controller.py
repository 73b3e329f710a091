"""C: CMA-ES over thousands of dreams in one batch; the simulator is only looked at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.core.metrics import MetricWriter
from reverie.core.seeds import child_seed, numpy_rng
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.objective import draw_latents
from reverie.models.classic.world import ClassicState, ClassicWorld
from reverie.parallel.checkpoint import CheckpointFolder, Snapshot
from reverie.planning.controller_search import ControllerSearch
from reverie.planning.imagine import ImagineConfig, imagine
from reverie.train.classic import LatentStream
from reverie.train.clocks import catch_stop
from reverie.train.loop import TrainingStoppedError
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.progress import Progress

KIND = "controller"
_IS_LAST = "is_last"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """How C is searched for, inside the dream alone."""

    generations: int = 40
    population: int = 32
    num_starts: int = 30
    """Dreams per candidate; all candidates share their starts and noise."""
    horizon: int = 100
    first_std: float = 0.1
    weight_decay: float = 0.01
    """Fine per unit of mean squared weight."""
    uses_end: bool = True
    """Off, a task that pays 1 per step pays every controller alike: kept for the proof of it."""
    norm_fine: float = 0.01
    """Fine per unit of latent norm above the 99 % quantile of real latents; 0 switches it off."""
    newest_share: float = 0.5
    """Share of the starts that come from the newest round's episodes: a controller must learn to
    go on from where it gets to, which random play never shows."""
    start_context: int = 16
    """Real frames that M reads before a dream begins."""
    check_every: int = 20
    """Generations between two looks at the real simulator; the last one always looks."""
    save_every: int = 10
    enough: float | None = added(None)
    """Real return of a look that ends the search; None goes through all generations."""

    def __post_init__(self) -> None:
        """Refuse searches that cannot begin."""
        counts = (self.generations, self.population, self.num_starts, self.horizon)
        if min(*counts, self.start_context, self.check_every, self.save_every) < 1:
            raise ConfigError(f"The counts of a search must be at least 1, got {counts}.")


Check = Callable[[Float[Tensor, "k p"], int], Mapping[str, float | str]]
"""Plays candidates (the distribution's mean first) for real; returns what is logged."""


class ControllerWeights(nn.Module):
    """The vector of a finished controller, as a module that a phase can keep."""

    parameters_vector: Tensor

    def __init__(self, num_parameters: int) -> None:
        """Begin at zero."""
        super().__init__()
        self.register_buffer("parameters_vector", torch.zeros(num_parameters))


def train_controller(
    world: ClassicWorld,
    controller: ControllerConfig,
    first_mean: Float[Tensor, " p"],
    stream: LatentStream,
    config: SearchConfig,
    *,
    folder: PhaseFolder,
    around: Surroundings,
    check: Check | None = None,
) -> Float[Tensor, " p"]:
    """Search in the dream and return the mean of the last distribution; resumes by itself.

    Args:
        world: Trained V and M.
        controller: Shape of C.
        first_mean: Where to begin: zeros, or the controller of the round before.
        stream: Real latents that dreams start from.
        config: How.
        folder: Where the phase keeps its files.
        around: Seed, audience.
        check: Looks at the real simulator; what it sees never steers the search.
    """
    folder.claim()
    weights = ControllerWeights(controller.num_parameters)
    if folder.done is None:
        search = ControllerSearch(
            first_mean.double().numpy(),
            population=config.population,
            seed=child_seed(around.seed, str(folder.path.relative_to(around.folder)), "search"),
            first_std=config.first_std,
        )
        _run(search, world, controller, stream, config, folder, around, check)
        weights.parameters_vector.copy_(torch.from_numpy(search.mean).float())
        folder.finish({"generations": search.generation, "std": search.std}, weights)
    folder.load_result(weights, what="controller")
    return weights.parameters_vector


def draw_starts(
    world: ClassicWorld,
    stream: LatentStream,
    num_starts: int,
    *,
    context: int,
    rng: np.random.Generator,
    newest_share: float = 0.0,
) -> ClassicState:
    """Draw moments anywhere in real episodes, the last steps before an end included.

    M reads up to ``context`` real latents before each. A moment at which an episode has ended is
    no start.

    Args:
        world: Whose states are made.
        stream: Real latents.
        num_starts: How many.
        context: Frames that M reads.
        rng: Draws moments and latents.
        newest_share: Share of them that comes from the newest round's episodes.
    """
    lanes = stream.lanes
    usable = ~lanes.is_terminal[0, context - 1 :]
    places = torch.nonzero(usable)[:, 0].numpy()
    starts = rng.choice(places, size=num_starts, replace=len(places) < num_starts)
    newest = places[places + context - 1 >= stream.newest_from] if stream.newest_from else places
    num_newest = round(newest_share * num_starts)
    starts[:num_newest] = rng.choice(newest, size=num_newest, replace=len(newest) < num_newest)
    windows = stream.cut(starts.tolist(), context)
    generator = torch.Generator()
    generator.manual_seed(int(rng.integers(2**62)))
    latents = draw_latents(windows.mean, windows.log_variance, generator)
    return world.start_from_latents(
        latents,
        prev_actions=windows.prev_actions,
        is_first=windows.is_first,
        action_mask=lanes.action_mask.expand(num_starts, -1),
        task=lanes.task * num_starts,
    )


def norm_quantile(stream: LatentStream, share: float = 0.99) -> float:
    """Return the norm that a share of the real latents stays below."""
    norms = rearrange(stream.posteriors[:, 0], "r d -> r d").norm(dim=1)
    return float(torch.quantile(norms[: 1 << 20], share))


def _run(
    search: ControllerSearch,
    world: ClassicWorld,
    controller: ControllerConfig,
    stream: LatentStream,
    config: SearchConfig,
    folder: PhaseFolder,
    around: Surroundings,
    check: Check | None,
) -> None:
    checkpoints = CheckpointFolder(path=folder.path / "checkpoints")
    snapshot, is_last = checkpoints.load(KIND), False
    if snapshot is not None:
        is_last = bool(snapshot.scalars.pop(_IS_LAST, False))
        search.load_state_dict(snapshot.scalars)
    limit = norm_quantile(stream) if config.norm_fine else float("inf")
    step = search.generation if snapshot is not None else None
    with MetricWriter(folder.path / "metrics.jsonl", resume_step=step) as writer:
        with catch_stop() as stop:
            while search.generation < config.generations and not is_last:
                values = _generation(search, world, controller, stream, config, limit, around)
                if check is not None and _is_due(search.generation, config):
                    candidates = np.vstack([search.mean[None], search.ask()])
                    seen = check(torch.from_numpy(candidates).float(), search.generation)
                    values |= dict(seen)
                    is_last = _is_enough(seen, config)
                writer.write(search.generation, values)
                _show(around, folder, search, config, values)
                is_last = is_last or search.generation == config.generations
                if stop or is_last or search.generation % config.save_every == 0:
                    checkpoints.save(_snapshot(search, folder, is_last=is_last))
                if stop and not is_last:
                    raise TrainingStoppedError(
                        f"Stopped after generation {search.generation} of {config.generations}; "
                        f"everything is saved. Run the same command again to go on from here."
                    )


def _generation(
    search: ControllerSearch,
    world: ClassicWorld,
    controller: ControllerConfig,
    stream: LatentStream,
    config: SearchConfig,
    norm_limit: float,
    around: Surroundings,
) -> dict[str, float | str]:
    draws = numpy_rng(search.seed, "generation", search.generation)
    starts = draw_starts(
        world,
        stream,
        config.num_starts,
        context=config.start_context,
        rng=draws,
        newest_share=config.newest_share,
    )
    noise = torch.Generator(device=world.device)
    noise.manual_seed(int(draws.integers(2**62)))
    candidates = torch.from_numpy(search.ask()).float()
    imagined = imagine(
        world,
        starts,
        controller,
        candidates,
        ImagineConfig(
            horizon=config.horizon,
            ends=config.uses_end,
            norm_limit=norm_limit,
            norm_fine=config.norm_fine,
        ),
        noise,
    )
    returns = imagined.returns.mean(dim=0)
    fines = config.weight_decay * candidates.square().mean(dim=1)
    search.tell((returns - fines).double().cpu().numpy())
    return {
        "dream_return": float(returns.mean()),
        "dream_return_best": float(returns.max()),
        "dream_lifetime": float(imagined.lifetimes.mean()),
        "search_std": search.std,
    }


def _is_due(generation: int, config: SearchConfig) -> bool:
    return generation % config.check_every == 0 or generation == config.generations


def _is_enough(seen: Mapping[str, float | str], config: SearchConfig) -> bool:
    return config.enough is not None and float(seen["real_return"]) >= config.enough


def _show(
    around: Surroundings,
    folder: PhaseFolder,
    search: ControllerSearch,
    config: SearchConfig,
    values: Mapping[str, float | str],
) -> None:
    numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
    around.audience.show(
        Progress(
            phase=f"{KIND} {folder.path.name}",
            done=search.generation,
            total=config.generations,
            unit="generations",
            values=numbers,
        )
    )


def _snapshot(search: ControllerSearch, folder: PhaseFolder, *, is_last: bool) -> Snapshot:
    scalars: dict[str, Any] = {**search.state_dict(), _IS_LAST: is_last}
    mean = {"mean": torch.from_numpy(search.mean)}
    return Snapshot(
        kind=KIND,
        step=search.generation,
        config=folder.config,
        tensors={"weights": mean},
        scalars=scalars,
    )
