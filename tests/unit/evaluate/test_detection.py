"""Fitting and judging a probability on dreams whose faults are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.core.files import read_sealed, write_sealed
from reverie.evaluate.detection import (
    FitOrder,
    apply_calibration,
    build_bank,
    choose_map,
    compare_within,
    fit_calibration,
    judge,
    judge_candidates,
    steps_ahead,
    with_novelty,
)
from reverie.evaluate.watched import load_watched
from reverie.hallucination.calibrate import (
    FILE_NAME,
    Calibration,
    CalibrationSetup,
    MapChoice,
    check_probability,
    left_out_losses,
    load_calibration,
)
from reverie.hallucination.conformal import deal_folds
from reverie.hallucination.features import CHANNELS
from reverie.hallucination.novelty import load_bank
from reverie.hallucination.watch import SIGNALS
from tests.support.watched import HORIZON, TASKS, make_dreams

SETUP = CalibrationSetup(
    checkpoint="abc",
    num_flow_steps=4,
    commit_signal=0.9,
    num_seeds=2,
    normaliser="none",
    context=8,
)
DOMAINS = {"easy": "one", "hard": "one", "noisy": "two"}
ORDER = FitOrder(setup=SETUP, domains=DOMAINS, channels=("u_s", "m", "step"))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit_calibration(make_dreams(0), ORDER)


def test_a_reading_that_announces_the_fault_becomes_an_honest_probability(
    calibration: Calibration,
) -> None:
    test = make_dreams(1)
    found = judge("p", test, *apply_calibration(calibration, test))
    assert found.steps.ece < 0.05
    assert found.step_auroc > 0.9
    assert found.diverged.within_mean > 0.9
    assert found.gain.within_mean < -0.5
    flags = found.detection["*"]
    assert flags.false_alarm_rate <= 0.15 and flags.detected > 0.7 * flags.num_bad
    assert flags.lead_median >= 1


def test_a_reading_that_knows_nothing_gets_the_base_rate(calibration: Calibration) -> None:
    test = make_dreams(1)
    blind = fit_calibration(make_dreams(0), replace(ORDER, channels=("u_r",)))
    found = judge("p", test, *apply_calibration(blind, test))
    assert abs(found.step_auroc - 0.5) < 0.08
    assert found.steps.ece < 0.08, "knowing nothing is no excuse for a dishonest number"


def test_thresholds_rest_on_every_good_dream(calibration: Calibration) -> None:
    num_good = int((~make_dreams(0).has_diverged.any(axis=1)).sum())
    assert _groups(calibration)["*"].num_good == num_good > 100
    assert sum(_groups(calibration)[name].num_good for name in ("one", "two")) == num_good


def test_dreams_of_one_episode_share_their_fold() -> None:
    episodes = np.repeat(np.arange(13), 3)
    folds = deal_folds(episodes, 4, np.random.default_rng(0))
    assert all(len(set(folds[episodes == episode])) == 1 for episode in range(13))
    assert np.bincount(folds[::3], minlength=4).tolist() == [4, 3, 3, 3]


def test_thresholds_of_dreams_learned_by_heart_would_be_too_low_for_new_ones() -> None:
    known, new = make_dreams(0, rows=30), make_dreams(1, rows=200)
    many = tuple(name for name in CHANNELS if name in SIGNALS and name != "u_s")
    learned = fit_calibration(known, replace(ORDER, channels=many, strengths=(100.0,)))
    found = judge("p", new, *apply_calibration(learned, new, alpha=0.2))
    assert found.detection["*"].false_alarm_rate < 0.3


def _groups(calibration: Calibration) -> dict:
    return calibration.thresholds["0.05"]


def test_small_groups_fall_back_and_say_so() -> None:
    calibration = fit_calibration(make_dreams(0, rows=24), ORDER)
    strict = calibration.thresholds["0.01"]
    assert strict["one"].is_fallback and strict["one"].value == strict["*"].value
    assert calibration.threshold("never-seen").is_fallback
    with pytest.raises(ConfigError, match="not for 0.33"):
        calibration.threshold("easy", 0.33)


def test_a_saved_calibration_says_the_same_and_refuses_another_model(
    calibration: Calibration, tmp_path: Path
) -> None:
    calibration.save(tmp_path)
    again = load_calibration(tmp_path, SETUP)
    test = make_dreams(1, rows=6)
    first, second = (apply_calibration(item, test)[0] for item in (calibration, again))
    assert np.array_equal(first, second)
    for name, value in {"checkpoint": "xyz", "num_flow_steps": 8, "context": 4}.items():
        with pytest.raises(CheckpointError, match=f"fitted for {name} .* do not carry over"):
            load_calibration(tmp_path, replace(SETUP, **{name: value}))


def test_files_of_other_versions_or_broken_ones_are_refused(
    calibration: Calibration, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="has no calibrated probability. Fit it with: reverie"):
        load_calibration(tmp_path, SETUP)
    path = calibration.save(tmp_path)
    values = read_sealed(path)
    write_sealed(path, {**values, "format_version": 99})
    with pytest.raises(CheckpointError, match="format version 99"):
        load_calibration(tmp_path, SETUP)
    values["logistic"]["weights"] = values["logistic"]["weights"][:-1]
    write_sealed(path, values)
    with pytest.raises(DataError, match="damaged"):
        load_calibration(tmp_path, SETUP)
    (tmp_path / FILE_NAME).write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        load_calibration(tmp_path, SETUP)


def test_dreams_that_all_end_alike_cannot_be_calibrated() -> None:
    dreams = make_dreams(0, rows=8)
    perfect = replace(dreams, dream=np.full_like(dreams.dream, 1e-4))
    with pytest.raises(DataError, match="needs steps that diverged and steps that did not"):
        fit_calibration(perfect, ORDER)


def test_an_undefined_reading_gives_no_probability_and_a_flag(calibration: Calibration) -> None:
    test = make_dreams(1, rows=4)
    test.signals["u_s"][0, 3] = np.nan
    probability, threshold = apply_calibration(calibration, test)
    # The largest value so far stays undefined from there on.
    assert np.isnan(probability[0, 3:]).all() and np.isfinite(probability[1:]).all()
    assert judge("p", test, probability, threshold).steps.num_dropped >= HORIZON - 3 - 8
    with pytest.raises(ConfigError, match="of step 3 is not a number"):
        check_probability(float(probability[0, 3]), where="of step 3")


def test_every_baseline_goes_through_the_same_pipeline() -> None:
    candidates = {"good": ("u_s",), "blind": ("u_r",)}
    found = judge_candidates(make_dreams(0), make_dreams(1), ORDER, candidates)
    assert [item.name for item in found] == ["good", "blind", "task identity"]
    good, blind, identity = found
    assert good.steps.brier < blind.steps.brier
    assert np.isnan(identity.diverged.within_mean) or identity.diverged.within_mean == 0.5
    gap = compare_within(good.clip_scores, blind.clip_scores, make_dreams(1), num_draws=60)
    assert 0.2 < gap.low < gap.difference < gap.high


def test_a_family_is_judged_by_a_fit_that_never_saw_it() -> None:
    fit, test = make_dreams(0), make_dreams(1)
    # In the held-out family the reading means the opposite: only a fit that saw it could know.
    for dreams in (fit, test):
        mine = np.asarray(dreams.task) == "noisy"
        dreams.signals["u_s"][mine] = 1.0 / dreams.signals["u_s"][mine]
    family = {task: task for task in TASKS}
    candidates = {"good": ("u_s",)}
    apart = judge_candidates(fit, test, ORDER, candidates, held_out=family)[0]
    assert apart.diverged.by_task["noisy"] < 0.3 < 0.9 < apart.diverged.by_task["easy"]


def test_labels_look_ahead_and_end_with_the_dream() -> None:
    dreams = make_dreams(0, rows=4)
    labels = steps_ahead(dreams)
    assert np.isnan(labels[:, -8:]).all() and np.isfinite(labels[:, :-8]).all()


def test_novelty_leaves_the_own_episode_out(tmp_path: Path) -> None:
    dreams = make_dreams(0, rows=12)
    exact = replace(dreams, dreamed=dreams.true[:, 8:].copy())
    bank = build_bank(exact, num_per_task=10_000)
    seen = with_novelty(exact, bank, excludes_own=False).signals["knn_local"]
    apart = with_novelty(exact, bank, excludes_own=True).signals["knn_local"]
    assert (seen < apart).all(), "a frame of the bank is its own nearest neighbour"
    bank.save(tmp_path)
    again = load_bank(tmp_path)
    assert again.tasks == TASKS and len(again.vectors) == len(bank.vectors)
    torch.testing.assert_close(again.vectors, bank.vectors, rtol=1e-3, atol=1e-3)


def test_the_bank_holds_as_many_frames_of_each_task() -> None:
    bank = build_bank(make_dreams(0, rows=8), num_per_task=50)
    assert torch.bincount(bank.task_index).tolist() == [50, 50, 50]


def test_watched_dreams_are_read_back_and_nothing_else_is(tmp_path: Path) -> None:
    dreams = make_dreams(3, rows=4)
    dreams.save(tmp_path / "dreams.npz")
    again = load_watched(tmp_path / "dreams.npz")
    assert again.task == dreams.task and np.array_equal(again.dream, dreams.dream)
    with pytest.raises(DataError, match="There are no watched dreams"):
        load_watched(tmp_path / "nothing.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises((DataError,), match="holds no watched dreams"):
        load_watched(tmp_path / "bad.npz")


def test_tasks_left_out_of_the_fit_choose_channels_and_penalty() -> None:
    order = replace(
        ORDER,
        options=(("m",), ("u_s",), ("m", "step")),
        strengths=(1e-6, 0.1),
        shares=(0.0,),
    )
    found = choose_map(make_dreams(0), order)
    assert (found.channels, found.strength) == (("u_s",), 0.1)
    assert fit_calibration(make_dreams(0), order).channels == ("u_s",)
    one_task = make_dreams(0, tasks=("easy",))
    assert choose_map(one_task, order).channels == ("u_s",), "of one task, episodes are left out"


def test_a_loss_on_groups_left_out_needs_both_labels_among_the_rest() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 1))
    labels = (features[:, 0] > 0).astype(float)
    groups = np.repeat(["a", "b", "c"], 20)
    maps = [MapChoice(channels=("m",), strength=1.0), MapChoice(channels=("m",), share=1.0)]
    good = left_out_losses(features, labels, groups, maps)
    noise = left_out_losses(rng.normal(size=(60, 1)), labels, groups, maps)
    assert good[0] < noise[0]
    assert left_out_losses(features, np.ones(60), groups, maps) == [np.inf, np.inf]
