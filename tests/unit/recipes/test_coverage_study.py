"""The coverage study: one base a seed, three ways on from it, and a table of paired differences."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reverie.core.errors import ConfigError
from reverie.models.load import read_manifest, save_world_model
from reverie.recipes.coverage_study import BEFORE, CONTROL, WAYS, CoverageStudy, study_coverage
from tests.support.small_world import make_small_world
from tests.support.tiny_adapt import KNOWN_TASK, NEW_TASK, tiny_order

TINY = CoverageStudy(
    episodes={NEW_TASK: 3, KNOWN_TASK: 2},
    max_steps=12,
    policies={"random": 1.0},
    num_seeds=1,
    finetune=tiny_order().finetune,
    evaluation=replace(tiny_order().evaluation, behaviour="random"),
)


@pytest.mark.long
def test_all_ways_continue_one_base_and_a_second_call_only_reads(tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "study"
    save_world_model(model, make_small_world(tasks=(KNOWN_TASK,)))
    numbers = study_coverage(model, TINY, out, num_workers=0)
    assert list(numbers["rows"]) == [BEFORE, *WAYS]
    for name in WAYS:
        row = numbers["rows"][name]
        has_difference = "reconstruction_psnr_db_minus_control" in row
        assert (
            has_difference == (name != CONTROL) and row["reconstruction_psnr_db"]["num_runs"] == 2
        )
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    folder = out / "seed-0"
    assert set(read_manifest(folder / "base" / "model").dynamics.tasks) == {NEW_TASK, KNOWN_TASK}
    hashes = {
        name: json.loads((folder / name / "tokenizer" / "done.json").read_text())["result_blake2b"]
        for name in ("frame-uniform", "loss-re-weighted", "coverage-aware")
    }
    assert len(set(hashes.values())) == 3, hashes
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert study_coverage(model, TINY, out, num_workers=0) == numbers
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before


def test_a_corpus_without_a_tail_is_refused() -> None:
    with pytest.raises(ConfigError, match="long tail has tasks of different size"):
        CoverageStudy(episodes={NEW_TASK: 2, KNOWN_TASK: 2})
