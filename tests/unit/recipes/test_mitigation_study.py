"""The study of mitigations: paired arms, shared parts, honest steps; and files that stay valid."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reverie.cli.main import main
from reverie.core.config import from_dict, to_dict
from reverie.core.errors import ConfigError
from reverie.models.classic.objective import MdnRnnObjectiveConfig
from reverie.recipes.cartpole import cartpole_dream
from reverie.recipes.cartpole_student import cartpole_student
from reverie.recipes.classic_base import ClassicRunConfig, check_classic_run
from reverie.recipes.mitigation_study import study_mitigations
from reverie.recipes.mitigations import (
    BASELINE,
    MitigationStudy,
    choose_arms,
    debug_study,
    make_arms,
)
from reverie.recipes.studies import PICTURE
from reverie.train.controller import SearchConfig

TESTED = ("grounding", "contrast and trust")


@pytest.mark.long
def test_arms_share_what_they_do_not_change_and_a_second_call_only_reads(tmp_path: Path) -> None:
    study = debug_study()
    study = replace(study, arms=choose_arms(study.arms, TESTED))
    numbers = study_mitigations(study, tmp_path, num_workers=0)
    assert list(numbers["rows"]) == [BASELINE, *TESTED]
    for name, row in numbers["rows"].items():
        assert row["real return"]["num_runs"] == 2, name
        assert (row["minus baseline"] is None) == (name == BASELINE)
        # Only grounding lets the simulator steer.
        assert (row["steering steps"]["iqm"] > 0) == (name == "grounding")
    folder = tmp_path / "seed-1"
    # One M without and one with the contrast; the other arms share them.
    assert len(list((folder / "models").iterdir())) == 2
    told = numbers["runs"]["contrast and trust"]
    assert all(0 <= value <= 1 for value in told["trust_auroc_last"])
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert "| contrast and trust |" in (tmp_path / "study.md").read_text()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = study_mitigations(study, tmp_path, num_workers=0)
    assert json.dumps(again["runs"]) == json.dumps(numbers["runs"])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before


def test_the_command_takes_arms_seeds_and_the_data_of_another_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "mitigations", "--debug", "--seeds", "1", "--workers", "0"]
    first, second = tmp_path / "first", tmp_path / "second"
    words += ["--arms", BASELINE]
    assert main([*words, "--out", str(first)]) == 0
    assert (first / "study.md").read_text().strip() in capsys.readouterr().out
    more = ["--data", str(first / "data"), "--horizons", "3", "4"]
    assert main([*words, *more, "--out", str(second)]) == 0
    rows = json.loads((second / "study.json").read_text())["rows"]
    assert list(rows) == ["baseline, 3 steps", "baseline, 4 steps"]
    runs = [json.loads((out / "study.json").read_text())["runs"] for out in (first, second)]
    # The same data, seed and horizon: the same controller, whoever collected.
    assert runs[1]["baseline, 4 steps"]["real_return"] == runs[0][BASELINE]["real_return"]
    assert main([*words[:-1], "nrom fine", "--out", str(first)]) == 2
    assert "Did you mean 'norm fine'" in capsys.readouterr().err


def test_studies_that_would_not_be_paired_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs the arm 'baseline'"):
        MitigationStudy(arms={"contrast": {}})
    arms = {BASELINE: {}, "small": {"vae_training.batch_size": 3}}
    with pytest.raises(ConfigError, match="arm 'small' changes vae_training, which all arms share"):
        MitigationStudy(arms=arms)
    with pytest.raises(ConfigError, match="without student"):
        MitigationStudy(run=cartpole_student())


def test_a_student_refuses_what_only_the_search_heeds() -> None:
    config = cartpole_student()
    with pytest.raises(ConfigError, match="steer CMA-ES only"):
        check_classic_run(replace(config, search=replace(config.search, ground_every=5)))


def test_options_that_are_off_leave_no_trace_in_files_and_older_files_mean_them() -> None:
    config = cartpole_dream()
    written = to_dict(config)
    assert set(written["search"]) == {
        *("generations", "population", "num_starts", "horizon", "first_std", "weight_decay"),
        *("uses_end", "norm_fine", "newest_share", "start_context", "check_every", "save_every"),
    }
    assert set(written["rnn_training"]["objective"]) == {
        *("end_weight", "latent_dropout", "free_steps", "free_weight", "free_min_std"),
    }
    assert from_dict(ClassicRunConfig, json.loads(json.dumps(written))) == config
    assert not config.search.steers_by_more
    for name, settings in make_arms().items():
        for path in settings:
            part = {"search": SearchConfig, "rnn_training": MdnRnnObjectiveConfig}.get(
                path.split(".")[0]
            )
            leaf = path.split(".")[1 if part is SearchConfig else -1]
            assert part is None or leaf in part.__dataclass_fields__, (name, path)
