"""The end of a classic run: real score, drift, correlation, kept dreams, the model's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.config import to_dict
from reverie.core.seeds import child_seed, numpy_rng
from reverie.core.types import Episode
from reverie.data.store import EpisodeStore
from reverie.envs.api import TaskEnv
from reverie.evaluate.dream_against_real import correlate, score_returns
from reverie.evaluate.latent_drift import LatentDrift, measure_drift
from reverie.models.classic.controller import act
from reverie.models.classic.disk import save_classic_world
from reverie.models.classic.objective import draw_latents
from reverie.models.classic.world import ClassicWorld
from reverie.planning.imagine import ImagineConfig, imagine
from reverie.planning.live import LiveConfig, LiveEpisode, play_many
from reverie.recipes.classic_base import ClassicPlaces, ClassicRunConfig
from reverie.recipes.classic_checks import RoundFacts, confirmed_steps
from reverie.recipes.pictures import stack_rows, write_gif
from reverie.train.classic import LatentStream
from reverie.train.controller import draw_starts
from reverie.train.phase import PhaseFolder, Surroundings


def finish_run(
    config: ClassicRunConfig,
    places: ClassicPlaces,
    around: Surroundings,
    world: ClassicWorld,
    parameters: Float[Tensor, " p"],
    envs: Sequence[TaskEnv],
    stream: LatentStream,
    rounds: Sequence[RoundFacts],
) -> dict[str, Any]:
    """Measure the finished controller for real, keep some dreams, write model and report.

    What is measured already, under the same settings, is not measured again.
    """
    folder = PhaseFolder(path=places.report, config=to_dict(config))
    folder.claim()
    if folder.done is not None:
        return folder.done
    played = play_score(config, world, parameters, envs)
    returns = [float(sum(episode.rewards)) for episode in played]
    score = score_returns(returns, min_episodes=config.score.episodes)
    drift = drift_of(config, world, stream)
    pairs = [pair for facts in rounds for group in facts.groups for pair in group]
    inside = [correlate(*zip(*group, strict=True)) for facts in rounds for group in facts.groups]
    within = [found.spearman for found in inside if found.spearman is not None]
    numbers: dict[str, Any] = {
        "recipe": config.recipe,
        "seed": config.seed,
        "real_return": to_dict(score),
        "real_returns": returns,
        "real_steps": {
            "learned_from": stream.num_real_steps,
            "looks": int(sum(float(x["real_steps"]) for facts in rounds for x in facts.looks)),
            "confirmation": confirmed_steps(places),
            "final_score": sum(len(episode.rewards) for episode in played),
            **_grounding_steps(rounds),
        },
        "dream_return": dream_returns(config, world, parameters, stream),
        "drift": to_dict(drift) | {"ratio": drift.ratio},
        "dream_real": to_dict(correlate(*zip(*pairs, strict=True))),
        "dream_real_within_generations": {
            "mean_spearman": float(np.mean(within)) if within else None,
            "num_generations": len(within),
        },
        "rounds": [_round_row(facts) for facts in rounds],
    }
    dreams = keep_dreams(config, places.report, world, parameters, stream)
    numbers["kept_dreams"] = dreams
    save_classic_world(
        places.model,
        world,
        controller=config.controller,
        parameters=parameters,
        card=_card(config, numbers),
        metrics={key: numbers[key] for key in ("real_return", "drift", "dream_return")},
        provenance={"recipe": config.recipe, "seed": config.seed, "config": to_dict(config)},
    )
    folder.finish(numbers)
    around.audience.say(summary(numbers))
    return numbers


def drift_of(
    config: ClassicRunConfig,
    world: ClassicWorld,
    stream: LatentStream,
    *,
    exchanges_actions: bool = False,
) -> LatentDrift:
    """Dream from real starts under the recorded actions and compare with what happened.

    Args:
        config: How many starts, how far.
        world: The dream.
        stream: Real latents.
        exchanges_actions: Dream under the actions of another start instead: how much larger errors
            become is how much the dream heeds actions.
    """
    score, context = config.score, config.search.start_context
    length = context + score.drift_horizon
    rng = numpy_rng(config.seed, "drift")
    lanes = stream.lanes
    # Windows of one episode: none of the frames after the start begins another one.
    firsts = lanes.is_first[0].long().cumsum(0)
    begins = torch.arange(stream.num_frames - length + 1)
    places = torch.nonzero(firsts[begins + context - 1] == firsts[begins + context])[:, 0].numpy()
    count = min(score.drift_starts, len(places))
    windows = stream.cut(rng.choice(places, size=count, replace=False).tolist(), length)
    generator = torch.Generator()
    generator.manual_seed(int(rng.integers(2**62)))
    latents = draw_latents(windows.mean, windows.log_variance, generator)
    state: Any = world.start_from_latents(
        latents[:, :context],
        prev_actions=windows.prev_actions[:, :context],
        is_first=windows.is_first[:, :context],
        action_mask=lanes.action_mask.expand(count, -1),
        task=lanes.task * count,
    )
    imagined: list[Tensor] = []
    actions = windows.prev_actions.roll(1, dims=0) if exchanges_actions else windows.prev_actions
    for offset in range(context, length):
        noise = world.draw_noise(count, generator)
        state, prediction = world.step(state, actions[:, offset], noise)
        imagined.append(prediction.latent[:, 0])
    crossed = windows.is_first[:, context:].long().cumsum(dim=1) > 0
    return measure_drift(
        torch.stack(imagined, dim=1).numpy(),
        latents[:, context:].numpy(),
        (~crossed).numpy(),
        latents[:, context - 1].numpy(),
        rng=rng,
    )


def dream_returns(
    config: ClassicRunConfig,
    world: ClassicWorld,
    parameters: Float[Tensor, " p"],
    stream: LatentStream,
) -> dict[str, float]:
    """Return what the dream promises the controller, at every reported temperature."""
    found: dict[str, float] = {}
    kept = world.temperature
    for temperature in config.score.temperatures:
        rng = numpy_rng(config.seed, "final dream")
        starts = draw_starts(
            world, stream, config.score.episodes, context=config.search.start_context, rng=rng
        )
        noise = torch.Generator()
        noise.manual_seed(int(rng.integers(2**62)))
        world.temperature = temperature
        horizon = ImagineConfig(horizon=config.rounds.horizons[-1], norm_fine=0.0)
        imagined = imagine(world, starts, config.controller, parameters[None], horizon, noise)
        found[f"{temperature:g}"] = float(imagined.returns.mean())
    world.temperature = kept
    return found


def keep_dreams(
    config: ClassicRunConfig,
    folder: Path,
    world: ClassicWorld,
    parameters: Float[Tensor, " p"],
    stream: LatentStream,
) -> dict[str, Any]:
    """Store dreams of the controller as episodes whose source is ``dream``, and draw some."""
    count, horizon = config.score.imagined_rollouts, config.rounds.horizons[-1]
    rng = numpy_rng(config.seed, "kept dreams")
    state: Any = draw_starts(world, stream, count, context=config.search.start_context, rng=rng)
    noise = torch.Generator()
    noise.manual_seed(int(rng.integers(2**62)))
    frames, actions, rewards = [world.decode(state)], [], []
    for _ in range(horizon):
        features = world.features(state)[None]
        action = act(config.controller, parameters.expand(count, -1), features)[0]
        state, prediction = world.step(state, action, world.draw_noise(count, noise))
        frames.append(world.decode(state))
        actions.append(action)
        rewards.append(prediction.reward)
    pictures = torch.stack(frames, dim=1).numpy()
    store = EpisodeStore.open_or_create(folder / "dreams", config.data.frame, "zstd")
    with store.writer() as writer:
        for row in range(count):
            episode = Episode(
                frames=pictures[row],
                actions=torch.stack(actions, dim=1)[row].numpy().astype(np.float32),
                rewards=torch.stack(rewards, dim=1)[row].numpy().astype(np.float32),
                terminated=False,
                task=config.data.tasks[0],
                source="dream",
                seed=child_seed(config.seed, "kept dream", row),
            )
            writer.append(episode, id=f"dream/{row:05d}")
    write_gif(folder / "dreams.gif", stack_rows(pictures[0], pictures[min(1, count - 1)]))
    return {"num_rollouts": count, "horizon": horizon, "folder": "dreams"}


def summary(numbers: dict[str, Any]) -> str:
    """Say the main numbers in a few lines."""
    real, drift, link = numbers["real_return"], numbers["drift"], numbers["dream_real"]
    within = numbers["dream_real_within_generations"]["mean_spearman"]
    steps = numbers["real_steps"]
    return (
        f"real return {real['mean']:.1f} ± {real['std']:.1f} over {real['num_episodes']} episodes "
        f"(95 % interval {real['low']:.1f} to {real['high']:.1f})\n"
        f"real steps learned from: {steps['learned_from']}{_steered(steps)}\n"
        f"KL imagined to real {drift['kl_nats']:.2f} nats, floor {drift['floor_nats']:.2f} "
        f"({drift['ratio']:.1f} times)\n"
        f"dream against real over {link['num_pairs']} pairs: Spearman {_or_none(link['spearman'])},"
        f" Pearson {_or_none(link['pearson'])}; within generations {_or_none(within)}"
    )


def _grounding_steps(rounds: Sequence[RoundFacts]) -> dict[str, int]:
    """Count the real steps that steered the search; nothing is said where there are none."""
    count = sum(facts.grounded_steps for facts in rounds)
    return {"grounding": count} if count else {}


def _steered(steps: dict[str, int]) -> str:
    count = steps.get("grounding", 0)
    return f"; {count} more steered the search (grounding)" if count else ""


def _or_none(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def play_score(
    config: ClassicRunConfig,
    world: ClassicWorld,
    parameters: Float[Tensor, " p"],
    envs: Sequence[TaskEnv],
) -> list[LiveEpisode]:
    """Play the real episodes that a finished controller is scored by."""
    seeds = [child_seed(config.seed, "score", number) for number in range(config.score.episodes)]
    live = LiveConfig(max_steps=config.score.max_steps)
    return list(play_many(world, config.controller, parameters[None], envs, seeds, config=live))


def _round_row(facts: RoundFacts) -> dict[str, Any]:
    last = facts.looks[-1] if facts.looks else {}
    return {
        "round": facts.index,
        "horizon": facts.horizon,
        "num_frames": facts.num_frames,
        "dream_return_of_mean": last.get("dream_return_of_mean"),
        "real_return": last.get("real_return"),
    }


def _card(config: ClassicRunConfig, numbers: dict[str, Any]) -> str:
    where = "and, in part, in the simulator" if config.search.ground_every else "alone"
    lines = [
        f"# {config.recipe}",
        "",
        f"A dream of '{config.data.tasks[0]}' and a controller that was trained in it "
        f"{where}: a VAE, a recurrent mixture model and {config.controller.num_parameters} weights "
        f"found by CMA-ES (Ha & Schmidhuber 2018).",
        "",
        f"- Made by: `reverie train {config.recipe}`, seed {config.seed}; the whole config is in "
        f"`model.json`.",
        f"- Data: {config.data.episodes_per_task} random episodes, then "
        f"{config.rounds.episodes_per_round} episodes of the controller after each round but the "
        f"last.",
        "- It knows only this task.",
        "",
        "## Measured",
        "",
        *summary(numbers).splitlines(),
        "",
        "| round | horizon | real frames | dream return | real return |",
        "|---|---|---|---|---|",
    ]
    for row in numbers["rounds"]:
        dream, real = (row[key] for key in ("dream_return_of_mean", "real_return"))
        cells = [f"{value:.1f}" if value is not None else "–" for value in (dream, real)]
        lines.append(
            f"| {row['round']} | {row['horizon']} | {row['num_frames']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"
