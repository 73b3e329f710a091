"""How tasks are drawn can be chosen where the drawing is ours, and data says how it was."""

import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from reverie.collect.collector import collect
from reverie.collect.order import CollectOrder
from reverie.core.errors import ConfigError
from reverie.core.seeds import child_seed
from reverie.core.types import FrameSpec, RenderQuality
from reverie.data.store import EpisodeStore
from reverie.envs.registry import make_env, task_names, task_spec
from tests.support.simulators import SMALL, open_task

FACTORIES = {
    task_spec(name).factory: task_spec(name).has_qualities
    for name in task_names()
    if not task_spec(name).factory.startswith("tests")
}
TASK = "reacher-easy"


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_factory_takes_a_quality_where_its_tasks_have_some(factory: str) -> None:
    module, _, function = factory.partition(":")
    names = list(inspect.signature(getattr(importlib.import_module(module), function)).parameters)
    assert ("quality" in names) == FACTORIES[factory]


def order(quality: RenderQuality) -> CollectOrder:
    return CollectOrder(
        tasks=(TASK,),
        policies={"noop": 1.0},
        episodes_per_task=1,
        frame=SMALL,
        codec="zstd",
        quality=quality,
        step_limits=(2,),
    )


def test_data_is_drawn_as_ordered_and_says_so(tmp_path: Path) -> None:
    open_task(TASK).close()
    collect(order("release"), tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "store.json").read_text())
    assert manifest["quality"] == "release"
    store = EpisodeStore.open(tmp_path / "s")
    episode = store.read_episode(store.index[0].id)
    for quality, is_same in (("release", True), ("fast", False)):
        env = make_env(TASK, frame_spec=SMALL, quality=quality)
        frame = env.reset(child_seed(episode.seed, "env"))
        env.close()
        assert np.array_equal(frame, episode.frames[0]) == is_same
    with pytest.raises(ConfigError, match="zstd, drawn release, asked for .* zstd, drawn fast"):
        collect(order("fast"), tmp_path / "s")


def test_stores_from_before_there_was_a_choice_were_drawn_fast(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "s", FrameSpec(height_px=8, width_px=8))
    assert "quality" not in json.loads((store.path / "store.json").read_text())
    assert EpisodeStore.open(store.path).spec.quality == "fast"
