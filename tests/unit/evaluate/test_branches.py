"""Laws of the branch bench on dreams whose behaviour is known."""

import json
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from reverie.collect.policies import make_policy
from reverie.core.errors import ConfigError, DataError
from reverie.core.types import Episode
from reverie.data.codecs import encode_png
from reverie.evaluate.branch_report import branch_pictures, branch_sections
from reverie.evaluate.branch_scores import (
    BranchScores,
    branch_numbers,
    compare_branches,
    score_branches,
)
from reverie.evaluate.branches import (
    KINDS,
    BranchConfig,
    Branches,
    DreamedBranches,
    dream_branches,
    play_branches,
)
from reverie.evaluate.live import LiveConfig, collect_heldout
from tests.support.simulator_world import SimulatorWorld
from tests.support.worlds import FRAME_SPEC, PixelTokenizer, RuleWorld, noisy_rule, still_rule

CONFIG = BranchConfig(horizon=6, places_per_episode=2, batch_rows=2)


@cache
def make_episodes(task: str = "toy-paint", policy: str = "random") -> tuple[Episode, ...]:
    found = collect_heldout(
        task,
        frame_spec=FRAME_SPEC,
        make_policy=lambda _: make_policy(policy),
        config=LiveConfig(num_episodes=3, max_steps=60),
    )
    return tuple(found)


@cache
def make_branches(task: str = "toy-paint") -> Branches:
    return play_branches(make_episodes(task), frame_spec=FRAME_SPEC, action_width=3, config=CONFIG)


def as_dream(frames: np.ndarray) -> DreamedBranches:
    return DreamedBranches(frames=frames, readings={})


def test_the_own_branch_repeats_the_recording_to_the_bit() -> None:
    branches, episodes = make_branches(), {item.seed: item for item in make_episodes()}
    assert branches.num_places == 6 and branches.is_alive.all()
    for place, (seed, step) in enumerate(zip(branches.episode, branches.step, strict=True)):
        recorded = episodes[seed]
        assert np.array_equal(branches.moment[place], recorded.frames[step])
        assert np.array_equal(branches.frames[place, 0], recorded.frames[step + 1 : step + 7])
        assert np.array_equal(branches.actions[place, 0], recorded.actions[step : step + 6])
        # The toy moves by chance too; the snapshot holds it.
        assert (branches.frames[place, 1:] != branches.frames[place, :1]).any()


def test_playing_branches_twice_gives_the_same_frames() -> None:
    again = play_branches(make_episodes(), frame_spec=FRAME_SPEC, action_width=3, config=CONFIG)
    assert np.array_equal(again.frames, make_branches().frames)
    assert np.array_equal(again.actions, make_branches().actions)


def test_each_kind_of_branch_is_what_it_is_called() -> None:
    own, held, zero, opposite, mirrored = np.moveaxis(make_branches().actions, 1, 0)
    assert KINDS == ("own", "held", "zero", "opposite", "mirrored")
    assert (np.abs(held) == 1).all() and (held == held[:, :1]).all() and not zero.any()
    assert np.array_equal(opposite, -own) and np.array_equal(mirrored, own[:, ::-1])


def test_the_simulator_behind_the_protocol_is_a_perfect_dream() -> None:
    world = SimulatorWorld(make_episodes())
    scores = score_branches(world, make_branches(), CONFIG)
    assert np.array_equal(scores.dreamed.frames, make_branches().frames)
    assert not scores.errors.dream.any() and not scores.has_diverged.any()
    row = branch_numbers([scores])["tasks"]["toy-paint"]
    assert row["ratio"] == row["explained"] == row["sign_agreement"] == 1.0
    assert row["cosine"] == pytest.approx(1.0) and row["spearman"] == pytest.approx(1.0)
    assert row["ratio_interval"] == row["explained_interval"] == [1.0, 1.0]
    assert row["ratio_by_step"] == [1.0] * 6 and row["gap_db"] == 0.0
    assert row["kinds"]["own"]["ratio_to_own"] is None
    assert {row["kinds"][kind]["ratio_to_own"] for kind in KINDS[1:]} == {1.0}


def test_a_dream_that_ignores_its_actions_never_parts() -> None:
    world = RuleWorld(still_rule)
    scores = score_branches(world, make_branches(), CONFIG)
    assert not scores.pairs.dream.any() and scores.pairs.real.any()
    row = branch_numbers([scores])["tasks"]["toy-paint"]
    assert row["ratio"] == row["explained"] == row["sign_agreement"] == row["dream_distance"] == 0
    assert row["ratio_interval"] == [0.0, 0.0]
    assert row["spearman"] is None and row["cosine"] is None, "there is no direction to compare"
    assert row["tokenizer_ratio"] == 1.0 and row["real_distance"] > 0.05


def test_reading_a_branch_does_not_change_it() -> None:
    world = RuleWorld(noisy_rule)
    read, plain = (
        dream_branches(world, make_branches(), replace(CONFIG, readings=names))
        for names in (CONFIG.readings, ())
    )
    assert np.array_equal(read.frames, plain.frames) and not plain.readings
    assert set(read.readings) == {"u_r", "u_f", "u_s", "m"}
    numbers = branch_numbers([score_branches(world, make_branches(), CONFIG)])["readings"]
    assert set(numbers["own"]) == {"u_r", "u_f", "u_s", "m", "u_r/clip", "u_f/clip", "u_s/clip"}
    assert numbers["own"]["m"]["gain"]["num_clips"] == 6
    assert numbers["others"]["m"]["gain"]["num_clips"] == 24


def test_a_reading_that_is_the_error_ranks_branches_perfectly() -> None:
    branches = make_branches()
    scores = score_branches(RuleWorld(noisy_rule), branches, CONFIG)
    errors = scores.errors
    # Worse than the moment repeated, by how much: the outcome itself, with the sign of a reading.
    outcome = 10 * np.log10(errors.dream.mean(axis=2) / errors.still.mean(axis=2))
    told = DreamedBranches(
        frames=scores.dreamed.frames,
        readings={"told": np.repeat(outcome[:, :, None], branches.horizon, axis=2)},
    )
    numbers = branch_numbers([replace(scores, dreamed=told)])["readings"]
    for group in ("own", "others"):
        assert numbers[group]["told"]["gain"]["pooled"] == pytest.approx(-1.0)


def test_a_dream_that_parts_half_as_far_has_half_the_ratio_and_three_quarters_explained() -> None:
    branches = make_branches()
    moment = np.broadcast_to(branches.moment[:, None, None], branches.frames.shape)
    half = (moment.astype(np.float32) + branches.frames.astype(np.float32)) / 2
    dreamed = as_dream(np.round(half).astype(np.uint8))
    scores = compare_branches(branches, dreamed, branches.frames, branches.moment)
    row = branch_numbers([scores])["tasks"]["toy-paint"]
    assert row["ratio"] == pytest.approx(0.5, abs=0.01)
    assert row["explained"] == pytest.approx(0.75, abs=0.01)
    assert row["cosine"] == pytest.approx(1.0, abs=0.01)
    assert row["sign_agreement"] > 0.99


def test_a_dream_that_takes_one_branch_for_another_explains_less_than_nothing() -> None:
    branches = make_branches()
    swapped = as_dream(branches.frames[:, [3, 1, 2, 0, 4]])
    scores = compare_branches(branches, swapped, branches.frames, branches.moment)
    row = branch_numbers([scores])["tasks"]["toy-paint"]
    assert row["ratio"] == pytest.approx(1.0) and row["explained"] < 0.5
    assert row["sign_agreement"] < 0.9 and row["kinds"]["zero"]["psnr_db"] == 120.0


def test_permuting_the_moments_permutes_the_rows() -> None:
    world = RuleWorld(noisy_rule, tokenizer=PixelTokenizer(keep=0.9))
    order = [4, 0, 5, 2, 1, 3]
    first = score_branches(world, make_branches(), CONFIG).select(order)
    second = score_branches(world, make_branches().select(order), replace(CONFIG, batch_rows=5))
    assert np.array_equal(first.dreamed.frames, second.dreamed.frames)
    for name, values in first.dreamed.readings.items():
        assert np.array_equal(values, second.dreamed.readings[name]), name
    for group in ("errors", "pairs"):
        pair = getattr(first, group), getattr(second, group)
        for item in fields(pair[0]):
            assert np.array_equal(*(getattr(side, item.name) for side in pair)), item.name
    assert len(set(first.explained.tolist())) == 6


def test_steps_after_the_end_of_a_branch_count_nowhere() -> None:
    branches = make_branches("toy-fall")
    ended = ~branches.is_alive[:, :, -1]
    assert ended.any() and not ended[:, 0].any(), "the own branch was recorded to its end"
    for place, kind in np.argwhere(ended).tolist():
        alive = int(branches.is_alive[place, kind].sum())
        assert (
            branches.frames[place, kind, alive:] == branches.frames[place, kind, alive - 1]
        ).all()
    scores = score_branches(RuleWorld(still_rule), branches, CONFIG)
    assert np.isnan(scores.errors.dream[~branches.is_alive]).all()
    assert np.isfinite(scores.errors.dream[branches.is_alive]).all()
    assert not scores.has_diverged[~branches.is_alive].any()
    changed = branches.frames.copy()
    changed[~branches.is_alive] = 7
    again = score_branches(RuleWorld(still_rule), replace(branches, frames=changed), CONFIG)
    assert branch_numbers([scores]) == branch_numbers([again])
    row = branch_numbers([scores])["tasks"]["toy-fall"]
    assert row["num_ended_branches"] == int(ended.sum())


def test_the_numbers_are_json_and_the_page_shows_every_task() -> None:
    scores = [
        score_branches(RuleWorld(noisy_rule), make_branches(task), CONFIG)
        for task in ("toy-paint", "toy-fall")
    ]
    numbers = branch_numbers(scores)
    json.dumps(numbers, allow_nan=False)
    assert numbers["mean"]["ratio_num_tasks"] == 2
    low, high = numbers["mean"]["ratio_interval"]
    assert low <= numbers["mean"]["ratio"] <= high
    shown = branch_pictures(scores[0])
    pictures = {("toy-paint", rank): encode_png(picture) for rank, picture in shown.items()}
    page = "".join(branch_sections(scores, numbers, pictures))
    assert "toy-paint" in page and "toy-fall" in page and "mirrored" in page
    assert set(shown) == {"best", "worst"}
    # The moment and six steps beside the names; five branches of two rows.
    assert shown["best"].shape == (3 + 10 * 99, 104 + 7 * 99 + 3, 3)


def test_one_episode_has_numbers_and_no_interval() -> None:
    scores = score_branches(RuleWorld(noisy_rule), make_branches().select([0, 1]), CONFIG)
    row = branch_numbers([scores])["tasks"]["toy-paint"]
    assert row["ratio"] > 0 and row["ratio_interval"] == [None, None]


def test_a_moment_where_reality_does_not_part_has_no_ratio() -> None:
    branches = make_branches()
    still = np.broadcast_to(branches.moment[:, None, None], branches.frames.shape).copy()
    scores: BranchScores = score_branches(
        RuleWorld(noisy_rule), replace(branches, frames=still), CONFIG
    )
    row = branch_numbers([scores])["tasks"]["toy-paint"]
    assert row["ratio"] is None and row["explained"] is None and row["dream_distance"] > 0
    assert set(branch_pictures(scores)) == {"best"}


def test_episodes_that_do_not_repeat_or_are_too_short_are_refused() -> None:
    first, second, _ = make_episodes()
    moved = replace(first, seed=second.seed)
    with pytest.raises(DataError, match="does not repeat: frame 0 differs"):
        play_branches([moved], frame_spec=FRAME_SPEC, action_width=3, config=CONFIG)
    with pytest.raises(DataError, match="has 8 frames of context and 80 steps after them"):
        play_branches(
            [first], frame_spec=FRAME_SPEC, action_width=3, config=replace(CONFIG, horizon=80)
        )
    with pytest.raises(DataError, match="episodes of one task"):
        play_branches(
            [first, make_episodes("toy-fall")[0]],
            frame_spec=FRAME_SPEC,
            action_width=3,
            config=CONFIG,
        )
    with pytest.raises(ConfigError, match="must be at least 1, got 8, 0, 2, 4"):
        BranchConfig(horizon=0)
