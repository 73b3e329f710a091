"""C: CMA-ES over thousands of dreams in one batch; the simulator is only looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int64
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
from reverie.planning.imagine import ImagineConfig, Imagined, imagine
from reverie.train.classic import LatentStream
from reverie.train.clocks import catch_stop
from reverie.train.grounding import Grounded
from reverie.train.loop import TrainingStoppedError
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.progress import Progress
from reverie.train.trust import FittedTrust, TrustConfig, fit_trust

KIND = "controller"
_IS_LAST = "is_last"
GROUND_PATIENCE = 3
"""Generations over which dreamed and replayed lifetimes must agree."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """How C is searched for, inside the dream alone unless ``ground_every`` says otherwise."""

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
    ground_every: int = added(0)
    """Every so many starts, candidates are played on in the simulator instead of dreamed: real
    steps, which the report counts. 0 stays in the dream."""
    ground_limit: float = added(-1.0)
    """The search ends early, for new data, where dreamed and replayed lifetimes correlate less than
    this over three generations. -1 never ends it."""
    trust: TrustConfig = added(TrustConfig())
    """A verifier of M's dreams that weighs their rewards; off by default."""

    def __post_init__(self) -> None:
        """Refuse searches that cannot begin."""
        counts = (self.generations, self.population, self.num_starts, self.horizon)
        if min(*counts, self.start_context, self.check_every, self.save_every) < 1:
            raise ConfigError(f"The counts of a search must be at least 1, got {counts}.")
        if not 0 <= self.ground_every <= self.num_starts:
            raise ConfigError(
                f"ground_every lies between 0 (never) and num_starts ({self.num_starts}), got "
                f"{self.ground_every}."
            )
        if self.ground_limit > -1 and not self.ground_every:
            raise ConfigError(
                "ground_limit compares dreams with replayed ones, and none is replayed. Set "
                "ground_every too, such as 10."
            )

    @property
    def steers_by_more(self) -> bool:
        """Whether anything but plain dreams steers the search."""
        return self.ground_every > 0 or self.trust.steps > 0


Check = Callable[[Float[Tensor, "k p"], int], Mapping[str, float | str]]
"""Plays candidates (the distribution's mean first) for real; returns what is logged."""

Ground = Callable[[Float[Tensor, "k p"], Sequence[int], int], Grounded]
"""Plays candidates on from frames of the stream, at most so many steps; see ``Grounding``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RealPlay:
    """What a search may do in the simulator."""

    check: Check | None = None
    """Looks at it; what it sees never steers the search."""
    ground: Ground | None = None
    """Replaces some dreams; needed where ``ground_every`` is set."""


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
    real: RealPlay = RealPlay(),  # noqa: B008 - frozen
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
        real: What may be done in the simulator.

    Raises:
        ConfigError: Dreams are to be grounded, and there is no simulator for it.
    """
    if config.ground_every and real.ground is None:
        raise ConfigError(
            "search.ground_every asks for rollouts in the simulator, and this search has none. "
            "Set search.ground_every=0."
        )
    folder.claim()
    weights = ControllerWeights(controller.num_parameters)
    if folder.done is None:
        search = ControllerSearch(
            first_mean.double().numpy(),
            population=config.population,
            seed=child_seed(around.seed, str(folder.path.relative_to(around.folder)), "search"),
            first_std=config.first_std,
        )
        limit = norm_quantile(stream) if config.norm_fine else float("inf")
        scene = _Scene(
            world=world,
            controller=controller,
            stream=stream,
            config=config,
            norm_limit=limit,
            fitted=_fit_trust(world, stream, config, search.seed, around),
            real=real,
        )
        _run(search, scene, folder, around)
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
    begins = _draw_begins(stream, num_starts, context, rng, newest_share)
    return start_at(world, stream, begins, context=context, rng=rng)


def _draw_begins(
    stream: LatentStream,
    num_starts: int,
    context: int,
    rng: np.random.Generator,
    newest_share: float,
) -> Int64[np.ndarray, " s"]:
    """Draw where the contexts of starts begin."""
    usable = ~stream.lanes.is_terminal[0, context - 1 :]
    places = torch.nonzero(usable)[:, 0].numpy()
    begins = rng.choice(places, size=num_starts, replace=num_starts > len(places))
    newest = places[places + context - 1 >= stream.newest_from] if stream.newest_from else places
    num_newest = round(newest_share * num_starts)
    begins[:num_newest] = rng.choice(newest, size=num_newest, replace=len(newest) < num_newest)
    return begins


def start_at(
    world: ClassicWorld,
    stream: LatentStream,
    begins: Int64[np.ndarray, " s"],
    *,
    context: int,
    rng: np.random.Generator,
) -> ClassicState:
    """Begin dreams at the ends of contexts.

    Args:
        world: Whose states are made.
        stream: Real latents.
        begins: Index of the first frame of each context.
        context: Frames of it; the newest one is the start.
        rng: Draws latents from their posteriors.
    """
    count, lanes = len(begins), stream.lanes
    windows = stream.cut(begins.tolist(), context)
    generator = torch.Generator()
    generator.manual_seed(int(rng.integers(2**62)))
    latents = draw_latents(windows.mean, windows.log_variance, generator)
    return world.start_from_latents(
        latents,
        prev_actions=windows.prev_actions,
        is_first=windows.is_first,
        action_mask=lanes.action_mask.expand(count, -1),
        task=lanes.task * count,
    )


def norm_quantile(stream: LatentStream, share: float = 0.99) -> float:
    """Return the norm that a share of the real latents stays below."""
    norms = rearrange(stream.posteriors[:, 0], "r d -> r d").norm(dim=1)
    return float(torch.quantile(norms[: 1 << 20], share))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Scene:
    """What every generation is scored in."""

    world: ClassicWorld
    controller: ControllerConfig
    stream: LatentStream
    config: SearchConfig
    norm_limit: float
    fitted: FittedTrust | None
    real: RealPlay


def _fit_trust(
    world: ClassicWorld,
    stream: LatentStream,
    config: SearchConfig,
    seed: int,
    around: Surroundings,
) -> FittedTrust | None:
    """Train the verifier; a search that goes on trains the same one again."""
    if not config.trust.steps:
        return None
    fitted = fit_trust(world, stream, config.trust, seed=child_seed(seed, "trust"))
    around.audience.say(
        f"{KIND}: the verifier tells first steps of dreams from real ones with AUROC "
        f"{fitted.auroc_first:.2f}, those after {config.trust.horizon} with {fitted.auroc_last:.2f}"
    )
    return fitted


def _run(
    search: ControllerSearch, scene: _Scene, folder: PhaseFolder, around: Surroundings
) -> None:
    config, check = scene.config, scene.real.check
    checkpoints = CheckpointFolder(path=folder.path / "checkpoints")
    snapshot, is_last = checkpoints.load(KIND), False
    agreements: list[float] = []
    if snapshot is not None:
        is_last = bool(snapshot.scalars.pop(_IS_LAST, False))
        search.load_state_dict(snapshot.scalars)
        agreements = list(snapshot.scalars.get("agreements", ()))
    step = search.generation if snapshot is not None else None
    with MetricWriter(folder.path / "metrics.jsonl", resume_step=step) as writer:
        with catch_stop() as stop:
            is_last = is_last or _is_over(search, config, agreements)
            while not is_last:
                values = _generation(search, scene, agreements)
                is_last = _is_over(search, config, agreements)
                if check is not None and (is_last or _is_due(search.generation, config)):
                    candidates = np.vstack([search.mean[None], search.ask()])
                    seen = check(torch.from_numpy(candidates).float(), search.generation)
                    values |= dict(seen)
                    is_last = is_last or _is_enough(seen, config)
                writer.write(search.generation, values)
                _show(around, folder, search, config, values)
                if stop or is_last or search.generation % config.save_every == 0:
                    checkpoints.save(_snapshot(search, folder, agreements, is_last=is_last))
                if stop and not is_last:
                    raise TrainingStoppedError(
                        f"Stopped after generation {search.generation} of {config.generations}; "
                        f"everything is saved. Run the same command again to go on from here."
                    )
    if _disagree(config, agreements):
        around.audience.say(
            f"{KIND}: ended after generation {search.generation}; dreamed and replayed lifetimes "
            f"disagree (correlation {np.mean(agreements[-GROUND_PATIENCE:]):.2f})"
        )


def _is_over(search: ControllerSearch, config: SearchConfig, agreements: list[float]) -> bool:
    return search.generation >= config.generations or _disagree(config, agreements)


def _disagree(config: SearchConfig, agreements: list[float]) -> bool:
    """Tell whether dreams have been wrong about lifetimes for some generations."""
    recent = agreements[-GROUND_PATIENCE:]
    return len(recent) == GROUND_PATIENCE and float(np.mean(recent)) < config.ground_limit


def _generation(
    search: ControllerSearch, scene: _Scene, agreements: list[float]
) -> dict[str, float | str]:
    """Score one generation; what grounding says of the dream is appended to ``agreements``."""
    world, config = scene.world, scene.config
    draws = numpy_rng(search.seed, "generation", search.generation)
    context = config.start_context
    begins = _draw_begins(scene.stream, config.num_starts, context, draws, config.newest_share)
    starts = start_at(world, scene.stream, begins, context=context, rng=draws)
    noise = torch.Generator(device=world.device)
    noise.manual_seed(int(draws.integers(2**62)))
    candidates = torch.from_numpy(search.ask()).float()
    imagined = imagine(
        world,
        starts,
        scene.controller,
        candidates,
        ImagineConfig(
            horizon=config.horizon,
            ends=config.uses_end,
            norm_limit=scene.norm_limit,
            norm_fine=config.norm_fine,
        ),
        noise,
        trust=fitted.trust if (fitted := scene.fitted) else None,
    )
    returns, seen = imagined.returns, dict[str, float | str]()
    if config.ground_every:
        returns, seen = _grounded(scene, candidates, begins + context - 1, imagined)
        if "ground_correlation" in seen:
            agreements.append(float(seen["ground_correlation"]))
    if fitted:
        seen["trust_auroc_first"] = fitted.auroc_first
        seen["trust_auroc_last"] = fitted.auroc_last
    means = returns.mean(dim=0)
    fines = config.weight_decay * candidates.square().mean(dim=1)
    search.tell((means - fines).double().cpu().numpy())
    dreamed = imagined.returns.mean(dim=0)
    return {
        "dream_return": float(dreamed.mean()),
        "dream_return_best": float(dreamed.max()),
        "dream_lifetime": float(imagined.lifetimes.mean()),
        "search_std": search.std,
    } | seen


def _grounded(
    scene: _Scene,
    candidates: Float[Tensor, "k p"],
    frames: Int64[np.ndarray, " s"],
    imagined: Imagined,
) -> tuple[Float[Tensor, "s k"], dict[str, float | str]]:
    """Put real returns in the place of every K-th start's dreams; return them and what was seen."""
    config, ground = scene.config, scene.real.ground
    assert ground is not None, "checked when the search began"
    asked = np.arange(0, len(frames), config.ground_every)
    played = ground(candidates, frames[asked].tolist(), config.horizon)
    seen: dict[str, float | str] = {
        "ground_steps": float(played.num_steps),
        "ground_replayed": float(played.num_replayed),
    }
    if not played.rows:
        return imagined.returns, seen
    rows = torch.from_numpy(asked[list(played.rows)])
    real = played.returns.to(imagined.returns)
    seen["ground_return"] = float(real.mean())
    seen["ground_dream_return"] = float(imagined.returns[rows].mean())
    pairs = torch.stack([imagined.lifetimes[rows].flatten().cpu(), played.lifetimes.flatten()])
    varies = pairs.std(dim=1) > 0
    if varies[1]:
        # Dreams that are all alike where reality differs agree with nothing.
        seen["ground_correlation"] = float(torch.corrcoef(pairs)[0, 1]) if varies[0] else 0.0
    returns = imagined.returns.clone()
    returns[rows] = real
    return returns, seen


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


def _snapshot(
    search: ControllerSearch, folder: PhaseFolder, agreements: list[float], *, is_last: bool
) -> Snapshot:
    scalars: dict[str, Any] = {**search.state_dict(), _IS_LAST: is_last}
    if agreements:
        scalars["agreements"] = list(agreements)
    mean = {"mean": torch.from_numpy(search.mean)}
    return Snapshot(
        kind=KIND,
        step=search.generation,
        config=folder.config,
        tensors={"weights": mean},
        scalars=scalars,
    )
