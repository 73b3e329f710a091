"""``reverie train``: settings, refusals, the progress line."""

import json
from pathlib import Path

import pytest

from reverie.cli.train import parse_settings, progress_line, train
from reverie.core.errors import ReverieError, UnknownNameError
from reverie.recipes.registry import RECIPES, load_recipe, load_runner
from reverie.train.progress import Progress


def test_a_dry_run_prints_the_whole_config_with_its_changes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = train(
        "pocket-debug",
        tasks=("toy-paint",),
        settings=(
            "dynamics_training.optim.lr=5e-4",
            "seed=7",
            "dynamics_training.task_weights.toy-paint=0.75",
        ),
        runs=tmp_path / "runs",
        dry_run=True,
    )
    config = json.loads(capsys.readouterr().out)
    assert code == 0
    assert config["dynamics_training"]["optim"]["lr"] == 5e-4
    assert config["dynamics_training"]["task_weights"] == {"toy-paint": 0.75}
    assert (config["seed"], config["dynamics"]["tasks"]) == (7, ["toy-paint"])
    assert not (tmp_path / "runs").exists()


def test_settings_are_json_where_they_can_be() -> None:
    given = ("a.b=1e-3", "c=true", "d=[1, 2]", "e=webp", 'f={"x": 1}')
    assert parse_settings(given) == {
        "a.b": 1e-3,
        "c": True,
        "d": [1, 2],
        "e": "webp",
        "f": {"x": 1},
    }


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (("seed",), "--set takes PATH=VALUE, got 'seed'"),
        (("sed=1",), "Unknown config field 'sed'. Did you mean 'seed'"),
        (("seed=one",), "seed must be"),
        (("dynamics_training.fit.total_steps=9",), "Set objective.total_steps=9 too"),
        (("tokenizer.latent_channels=8",), "Set dynamics.num_latent_tokens=16"),
        (("data.frame.height_px=32",), "frames of 32x64, the tokenizer reads 64x64"),
        (("dynamics.action_width=1",), "Set dynamics.action_width=2"),
        (("held_out_episodes_per_task=0",), "must be at least 1"),
        (("evaluation.behaviour=nois",), "Unknown policy 'nois'. Did you mean 'noise'?"),
        (("dynamics_training.window_length=32",), "episodes of 'toy-paint' have at most 31 frames"),
        (("dynamics_training.long_length=40",), "no episode has more than 31 frames"),
        (('tokenizer_training.task_weights={"toy-pain": 2}',), "Did you mean 'toy-paint'?"),
        (("dynamics_training.task_weights.toy-pain=2",), "Did you mean 'toy-paint'?"),
        (("dynamics_training.task_weights.toy-paint=two",), "task_weights.toy-paint must be"),
        (("data.tasks.0=toy-fall",), "Nothing can be set inside of 'tasks'"),
        (("seed.low=1",), "Nothing can be set inside of 'seed', which is 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: tuple[str, ...], text: str) -> None:
    with pytest.raises(ReverieError) as caught:
        train("pocket-debug", settings=settings, dry_run=True)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", RECIPES.names())
def test_every_recipe_passes_its_own_check(name: str) -> None:
    config = load_recipe(name)(())
    check, _ = load_runner(config)
    check(config)


def test_unknown_recipes_and_tasks_are_answered_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'pocket'"):
        train("poket", dry_run=True)
    with pytest.raises(UnknownNameError, match="Did you mean 'toy-paint'"):
        train("pocket-debug", tasks=("toy-pain",), dry_run=True)


def test_the_progress_line_tells_how_far_how_fast_and_how_long_still() -> None:
    progress = Progress(
        phase="dynamics",
        done=250,
        total=1000,
        rates={"steps": 5.0, "frames": 960.0},
        values={"loss": 1.25, "lr": 0.001},
    )
    assert progress_line(progress) == (
        "dynamics 250/1000 steps (25%) · 5 steps/s · 960 frames/s · 2:30 left · loss 1.25"
    )
    assert "left" not in progress_line(Progress(phase="latents", done=0, total=10))
