"""Tables of the detection study: every candidate, both ways of holding out, bars and misses."""

from pathlib import Path

import numpy as np

from reverie.evaluate.calibration_report import write_calibration_report
from reverie.evaluate.coverage_report import coverage_correlations, map_tasks
from reverie.evaluate.detection import FitOrder, fit_calibration, judge_candidates
from reverie.hallucination.calibrate import CalibrationSetup
from reverie.recipes.calibration import against_published, calibration_numbers, judged_numbers
from reverie.recipes.detection_study import family_of, summarise, tables
from tests.support.watched import make_dreams

CANDIDATES = {"probability": ("u_s",), "u_s": ("u_s",), "motion": ("m",)}


def test_variants_of_one_game_are_one_family() -> None:
    assert family_of("pygame-cartpole-swingup") == family_of("pygame-cartpole-balance")
    assert family_of("pygame-pong") != family_of("pygame-reacher-easy")


def test_the_tables_and_the_report_name_every_candidate_and_bar(tmp_path: Path) -> None:
    setup = CalibrationSetup(
        checkpoint="",
        num_flow_steps=4,
        commit_signal=1.0,
        num_seeds=2,
        normaliser="none",
        context=8,
    )
    order = FitOrder(setup=setup, domains={}, channels=("u_s",))
    fit, test = make_dreams(0, rows=40), make_dreams(1, rows=40)
    judged = judge_candidates(fit, test, order, CANDIDATES)
    seen = calibration_numbers(fit_calibration(fit, order), judged, test)
    family = {task: task for task in fit.task}
    apart = judge_candidates(fit, test, order, CANDIDATES, held_out=family)
    models = {
        "one": {
            "seen": seen,
            "unseen": {item.name: judged_numbers(item) for item in apart},
            "unseen_against_published": against_published(apart, test),
            "twins_that_know": {
                "num_twins": 5,
                "auroc_divergence": {"within_mean": 0.9284},
                "spearman": {"within_mean": None},
            },
        }
    }
    summary = summarise(models)
    assert summary["seen"]["probability"]["auroc"] > 0.8
    text = tables({"models": models, "summary": summary})
    for name in (*CANDIDATES, "task identity", "≥ 0.90", "Families left out of the fit"):
        assert name in text
    assert "nan" not in text
    assert "one, 5 twins whose true gains are known, within tasks: AUROC 0.928, ρ –." in text
    assert text.count("above the best published, 'u_s': +0.000") == 2, "the same channel, twice"
    path = write_calibration_report(
        tmp_path / "report.html", judged, test, seen, known=fit, title="a <model>"
    )
    page = path.read_text()
    for part in ("a &lt;model&gt;", "Reliability", "Coverage", "motion", "Per task", "easy"):
        assert part in page
    assert page.count("data:image/png") == 4


def test_coverage_maps_see_a_reading_that_is_high_in_rare_places() -> None:
    dreams = make_dreams(2, rows=60, tasks=("easy",))
    far = np.square(dreams.dreamed.reshape(60, -1, 6)).sum(axis=2)
    dreams.signals["u_r"][:] = far
    maps = map_tasks(dreams, dreams)
    assert list(maps) == ["easy"]
    assert coverage_correlations(maps)["easy"] < -0.3
