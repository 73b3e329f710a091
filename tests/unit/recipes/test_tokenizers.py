"""The comparison of tokenizers: what is counted, pooled, timed and refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.cli.main import run as run_command
from reverie.core.errors import ConfigError, DataError
from reverie.core.types import FrameSpec
from reverie.evaluate.metrics import psnr
from reverie.evaluate.tokenizers import cut_videos, markdown, measure_tokenizer, summarise
from reverie.models.perceptual import PerceptualConfig, PerceptualTerm
from reverie.models.tokenizer.shelf import ShelfTokenizer
from reverie.recipes.tokenizers import TokenizerComparison, compare_tokenizers
from tests.support.dreams import make_tokenizer, random_frames
from tests.support.shelf import BUILDERS
from tests.support.tiny import dot_episode

CPU = torch.device("cpu")
TASK = "toy-paint"


def videos_of(tokenizer: Any, num_frames: int = 17) -> torch.Tensor:
    size = tokenizer.frame_spec
    return random_frames(size.height_px, size.width_px, rows=3, num_frames=num_frames)


def measured(tokenizer: Any, videos: torch.Tensor, **options: Any) -> Any:
    return measure_tokenizer(tokenizer, videos, task=TASK, domain="toy", device=CPU, **options)


def test_errors_are_those_of_decoding_what_was_encoded() -> None:
    tokenizer = make_tokenizer("causal")
    videos = videos_of(tokenizer, 5)
    clip = measured(tokenizer, videos)
    shown, _ = tokenizer.decode(tokenizer.encode(videos)[0])
    wanted = (shown.double() - videos.double()).div(255).square().mean(dim=(2, 3, 4))
    np.testing.assert_allclose(clip.errors, wanted.numpy(), rtol=1e-3)
    alone, _ = tokenizer.decode(tokenizer.encode(videos[1, 3, None, None])[0])
    single = (alone[0, 0].double() - videos[1, 3].double()).div(255).square().mean()
    assert clip.single_errors[1, 3] == pytest.approx(float(single), rel=1e-3)
    assert clip.encode_s > 0 and clip.decode_s > 0 and clip.lpips is None


def test_a_row_says_what_a_frame_costs_and_means_over_tasks_and_domains() -> None:
    size = FrameSpec(height_px=16, width_px=32)
    tokenizer = ShelfTokenizer(BUILDERS["wan"](), size)
    clip = measured(tokenizer, videos_of(tokenizer))
    row = summarise(tokenizer, [clip, clip], num_parameters=5)
    assert row["numbers_per_single_frame"] == 2 * 4 * 5
    assert row["numbers_per_frame"] == 2 * 4 * 5 / 4
    assert row["psnr_db"] == pytest.approx(float(psnr(clip.errors.mean())))
    assert row["domains"]["toy"]["psnr_db"] == row["tasks"][TASK]["psnr_db"] == row["psnr_db"]
    assert row["lpips"] == "not measured"
    assert row["decode_fps"] == pytest.approx(3 * 17 / clip.decode_s)
    table = markdown({"wan": row})
    assert "| wan | 16x32 | 0.00 | 10 |" in table and "| – |" in table
    assert "| toy |" in table


def test_lpips_is_measured_by_the_term_that_is_given() -> None:
    tokenizer = make_tokenizer("conv")
    term = PerceptualTerm(
        PerceptualConfig(kind="lpips-alex"), lambda a, b: torch.full((len(a),), 0.25)
    )
    clip = measured(tokenizer, videos_of(tokenizer), lpips=term)
    assert summarise(tokenizer, [clip], num_parameters=1)["lpips"] == 0.25


def test_videos_that_are_no_whole_latents_are_refused_with_a_length_that_fits() -> None:
    tokenizer = ShelfTokenizer(BUILDERS["wan"](), FrameSpec(height_px=16, width_px=16))
    with pytest.raises(DataError, match="12 frames are not whole latents of 4.*--num-frames 13"):
        measured(tokenizer, videos_of(tokenizer, 12))


def test_videos_do_not_overlap_and_cover_the_episodes() -> None:
    episodes = [dot_episode(seed, 20) for seed in range(3)]
    videos = cut_videos(episodes, num_frames=7, num_videos=4)
    assert videos.shape[:2] == (4, 7)
    assert len({video.numpy().tobytes() for video in videos}) == 4
    assert np.array_equal(videos[0], episodes[0].frames[:7])
    assert np.array_equal(videos[-1], episodes[2].frames[14:21])
    with pytest.raises(DataError, match="has 30 frames"):
        cut_videos(episodes, num_frames=30, num_videos=4)


def test_the_command_compares_ours_with_one_off_the_shelf(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net: Any = BUILDERS["sd-vae"]()
    net.save_pretrained(tmp_path / "vae")
    words = ["evaluate", "tokenizers", "pocket", str(tmp_path / "vae"), "--side-px", "32"]
    words += ["--tasks", "pygame-pong", "--num-episodes", "1", "--num-videos", "2"]
    run_command([*words, "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "LPIPS is not measured" in said
    table = (tmp_path / "out" / "tokenizers.md").read_text()
    assert "| pocket | 64x64 |" in table and "| 32x32 |" in table and "| miniarcade |" in table


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    net: Any = BUILDERS["sd-vae"]()
    net.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="name some with --tasks"):
        compare_tokenizers(TokenizerComparison(tokenizers=(str(tmp_path),)), tmp_path / "out")
    pyramid = TokenizerComparison(tokenizers=(), lpips=PerceptualConfig(kind="pyramid"))
    with pytest.raises(ConfigError, match="The pyramid is no LPIPS"):
        compare_tokenizers(pyramid, tmp_path / "out")
