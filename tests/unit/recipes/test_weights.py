"""Weights files made from a store are taken by the sampler that training uses."""

import json
from pathlib import Path

import pytest

from reverie.cli.main import EXIT_USER_ERROR, main
from reverie.core.errors import ConfigError
from reverie.data.sampling import SamplerConfig, WindowSampler
from reverie.data.store import EpisodeStore
from reverie.data.windows import list_windows
from reverie.models.load import save_world_model
from reverie.recipes.weights import WeightsOrder, make_weights
from reverie.train.dynamics import DynamicsTrainingConfig
from tests.support.small_world import SIDE_PX, make_small_world

TASKS = ("toy-paint", "toy-fall")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    path = tmp_path_factory.mktemp("data") / "store"
    words = ["collect", *TASKS, "--episodes", "6", "--size-px", str(SIDE_PX), "--out", str(path)]
    assert main([*words, "--workers", "1"]) == 0
    return EpisodeStore.open(path)


@pytest.mark.parametrize("strategy", ["uniform", "frames", "targeted", "novelty"])
def test_a_file_made_for_a_store_can_be_drawn_from(
    strategy: str, store: EpisodeStore, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    save_world_model(model, make_small_world())
    words = ["data", "weights", str(store.path), "--strategy", strategy, "--model", str(model)]
    words += ["--targeted", "toy-fall", "--alpha", "0.9"] if strategy == "targeted" else []
    assert main([*words, "--out", str(tmp_path / "w.json")]) == 0
    content = json.loads((tmp_path / "w.json").read_text())
    assert content["kind"] == ("episode" if strategy == "novelty" else "task")
    assert sum(content["weights"].values()) == pytest.approx(1.0)
    config = SamplerConfig(strategy="weighted", weights_file=str(tmp_path / "w.json"))
    sampler = WindowSampler(list_windows(store.index, 4), config)
    by_id = {entry.id: entry.task for entry in store.index}
    drawn = [by_id[ref.episode_id] for _ in range(60) for ref in sampler.next_batch()]
    share = drawn.count("toy-fall") / len(drawn)
    if strategy == "targeted":
        assert share == pytest.approx(0.9, abs=0.05)
    elif strategy != "frames":
        assert share == pytest.approx(0.5, abs=0.06)


def test_two_sources_of_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="only one can say what is drawn"):
        DynamicsTrainingConfig(task_weights={"a": 1.0}, weights_file="w.json")


def test_targets_without_their_strategy_are_refused(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "weights", str(store.path), "--targeted", "toy-fall"]
    assert main(words) == EXIT_USER_ERROR
    assert "go with strategy 'targeted' and only with it" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="Did you mean 'toy-fall'"):
        make_weights(store.path, WeightsOrder(strategy="targeted", targeted=("toy-fal",)))
