"""A whole classic run: every part works, resumes, and leaves what it promises."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reverie.core.config import override
from reverie.core.errors import ConfigError
from reverie.core.metrics import read_metrics
from reverie.data.exporters.hf import read_hf
from reverie.data.store import EpisodeStore
from reverie.hallucination.thresholds import load_thresholds, reading_setup
from reverie.models.families import load_any_world, load_controller_of
from reverie.recipes.classic_base import ClassicRunConfig
from reverie.recipes.classic_training import run_classic
from reverie.recipes.registry import RECIPES, load_recipe, load_runner
from reverie.train.phase import Surroundings

TWINS = [
    name
    for name in RECIPES.names()
    if name.endswith("-debug") and isinstance(load_recipe(name)(()), ClassicRunConfig)
]


@pytest.mark.parametrize("name", TWINS)
def test_debug_recipes_run_every_part_and_again_without_work(name: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = load_recipe(name)(())
    around = Surroundings(folder=tmp_path / "run", seed=config.seed)
    model = run_classic(config, around, num_workers=0)
    world = load_any_world(model)
    assert world.tasks == config.data.tasks
    controller, parameters = load_controller_of(model)
    assert controller == config.controller and torch.isfinite(parameters).all()
    assert "real return" in (model / "card.md").read_text()
    exported = dict(read_hf(tmp_path / "run" / "dataset")) if config.exports_dataset else {}
    data = EpisodeStore.open(tmp_path / "run" / "data")
    assert len(exported) == (len(data) if name == "cartpole-dream-debug" else 0)
    dreams = EpisodeStore.open(tmp_path / "run" / "report" / "dreams")
    assert len(dreams) == config.score.imagined_rollouts
    assert {entry.source for entry in dreams.index} == {"dream"}
    logs = sorted((tmp_path / "run" / "rounds").glob("*/*/metrics.jsonl"))
    looks = [row for row in read_metrics(logs[0]) if "real_return" in row]
    assert logs[0].parent.name == "controller" and looks
    limits = load_thresholds(model, reading_setup(model, world))
    assert set(limits.tasks) == set(config.data.tasks)
    logs.append(model / "readings.json")
    before = {path: path.stat().st_mtime_ns for path in logs}
    run_classic(config, around, num_workers=0)
    assert {path: path.stat().st_mtime_ns for path in logs} == before


@pytest.mark.parametrize(("ends_at", "num_rounds"), [(1.0, 1), (1e6, 2)])
def test_a_run_ends_with_the_first_round_that_is_good_enough_and_repeats_it(
    ends_at: float, num_rounds: int, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    config = load_recipe("cartpole-dream-debug")(())
    config = replace(config, rounds=replace(config.rounds, ends_at=ends_at, confirm_episodes=3))
    # Two episodes of this seed fall early: too short to dream from, and the run ends all the same.
    config = replace(config, limit_episodes=2)
    around = Surroundings(folder=tmp_path / "run", seed=config.seed)
    model = run_classic(config, around, num_workers=0)
    assert (model / "card.md").exists() and not (model / "readings.json").exists()
    rounds = tmp_path / "run" / "rounds"
    assert [path.name for path in sorted(rounds.iterdir())] == ["00", "01"][:num_rounds]
    confirmed = rounds / "00" / "confirm" / "done.json"
    assert confirmed.exists() == (num_rounds == 1)
    # A look that is good enough ends the search of its round, here with generation 2 of 3.
    log = read_metrics(rounds / "00" / "controller" / "metrics.jsonl")
    assert len(log) == (2 if num_rounds == 1 else 3)


def test_a_round_is_played_by_the_controller_and_by_what_is_near_it(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = load_recipe("cartpole-dream-debug")(())
    shares = {"noisy_share": 0.25, "leaning_share": 0.25, "shaken_share": 0.25}
    config = replace(config, rounds=replace(config.rounds, **shares))
    around = Surroundings(folder=tmp_path / "run", seed=config.seed)
    run_classic(config, around, num_workers=0)
    store = EpisodeStore.open(tmp_path / "run" / "data")
    kinds = ("controller", "noisy-controller", "leaning-controller", "shaken-controller")
    later = [entry.source for entry in store.index if entry.id.startswith("round-01")]
    assert sorted(later) == sorted(kinds)


def test_shares_of_a_round_beyond_the_whole_are_refused() -> None:
    config = load_recipe("cartpole-dream-debug")(())
    with pytest.raises(ConfigError, match="together at most 1"):
        replace(config.rounds, leaning_share=0.6, shaken_share=0.5)


def test_options_against_drift_run_from_collection_to_a_card_that_names_the_real_steps(
    tmp_path: Path,
) -> None:
    torch.set_num_threads(1)
    settings = {
        "search.ground_every": 2,
        "search.trust.steps": 2,
        "search.trust.horizon": 4,
        "rnn_training.objective.contrast_weight": 0.1,
        "rnn_training.objective.contrast_steps": 2,
        "rnn_training.objective.latent_dropout": 0.1,
        "exports_dataset": False,
    }
    config = override(load_recipe("cartpole-dream-debug")(()), settings)
    model = run_classic(config, Surroundings(folder=tmp_path, seed=0), num_workers=0)
    report = json.loads((tmp_path / "report" / "done.json").read_text())
    logs = [read_metrics(path) for path in (tmp_path / "rounds").glob("*/controller/*.jsonl")]
    steps = sum(float(line["ground_steps"]) for lines in logs for line in lines)
    assert report["real_steps"]["grounding"] == steps > 0
    assert all("trust_auroc_last" in line for lines in logs for line in lines)
    said = (model / "card.md").read_text()
    assert f"{steps:.0f} more steered the search (grounding)" in said
    assert "in it and, in part, in the simulator" in said


def test_settings_that_disagree_are_refused_with_what_to_set() -> None:
    config = load_recipe("cartpole-dream-debug")(())
    check, _ = load_runner(config)
    check(config)
    with pytest.raises(ConfigError, match="controller.num_features=24"):
        check(replace(config, controller=replace(config.controller, num_features=23)))
    with pytest.raises(ConfigError, match="V makes 8 channels, M reads 16"):
        check(replace(config, vae=replace(config.vae, latent_channels=8)))
