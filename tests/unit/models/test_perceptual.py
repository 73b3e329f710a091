"""The perceptual term: the published distance with the user's weights, or a stand-in."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from reverie.core.config import to_dict
from reverie.core.errors import CheckpointError, ConfigError
from reverie.models import perceptual
from reverie.models.perceptual import (
    PUBLISHED_SHA256,
    Lpips,
    PerceptualConfig,
    check_perceptual,
    layer_distance,
    load_perceptual,
    pyramid_distance,
)
from reverie.models.tokenizer.objective import TokenizerObjective
from reverie.train.tokenizer import TokenizerTrainingConfig
from tests.support.dreams import make_tokenizer, random_frames, seeded

KINDS = tuple(PUBLISHED_SHA256)


def pictures(seed: int, rows: int = 2, height: int = 40, width: int = 56) -> Tensor:
    return torch.rand(rows, 3, height, width, generator=seeded(seed))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], PerceptualConfig]:
    """Files of random weights in the published format, believed to be the published ones."""

    def make(kind: str) -> PerceptualConfig:
        torch.manual_seed(1)
        net: Any = Lpips(kind)
        trunk, heads = tmp_path / f"{kind}-trunk.pth", tmp_path / f"{kind}-heads.pth"
        classifier = {"classifier.1.weight": torch.zeros(3, 3)}
        weights = {f"features.{name}": value for name, value in net.features.state_dict().items()}
        torch.save(weights | classifier, trunk)
        torch.save(
            {
                f"lin{index}.model.1.weight": value.detach().view(1, -1, 1, 1)
                for index, value in enumerate(net.weights)
            },
            heads,
        )
        sums = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in (trunk, heads))
        monkeypatch.setitem(perceptual.PUBLISHED_SHA256, kind, sums)
        return PerceptualConfig(kind=kind, trunk_file=str(trunk), heads_file=str(heads))

    return make


def test_one_pixel_of_one_map_gives_the_worked_example() -> None:
    first, second = (torch.tensor(x).view(1, 2, 1, 1) for x in ([3.0, 4.0], [0.0, 5.0]))
    assert_close(layer_distance(first, second, torch.tensor([0.5, 2.0])), torch.tensor([0.26]))


def test_the_published_sums_begin_as_the_published_names_say() -> None:
    assert PUBLISHED_SHA256["lpips-alex"][0].startswith("7be5be79")
    assert PUBLISHED_SHA256["lpips-vgg"][0].startswith("397923af")


def reference_alex(net: Any, first: Tensor, second: Tensor) -> Tensor:
    """The same distance written down once more, layer by layer, for AlexNet."""
    layers = {name: dict(layer.named_parameters()) for name, layer in net.features.named_children()}
    total = torch.zeros(len(first))
    strides, paddings = {"0": 4}, {"0": 2, "3": 2}
    values = [
        ((2 * x - 1) - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1))
        / torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
        for x in (first, second)
    ]
    for index, name in enumerate(("0", "3", "6", "8", "10")):
        if name in ("3", "6"):
            values = [functional.max_pool2d(x, 3, 2) for x in values]
        values = [
            functional.conv2d(
                x,
                layers[name]["weight"],
                layers[name]["bias"],
                stride=strides.get(name, 1),
                padding=paddings.get(name, 1),
            ).relu()
            for x in values
        ]
        one, two = (functional.normalize(x, dim=1, eps=1e-10) for x in values)
        weighted = (one - two).square() * net.weights[index].view(1, -1, 1, 1)
        total = total + weighted.sum(dim=1).mean(dim=(1, 2))
    return total


@torch.no_grad()
def test_lpips_equals_its_definition_written_a_second_time(
    files: Callable[[str], PerceptualConfig],
) -> None:
    term = load_perceptual(files("lpips-alex"))
    assert term is not None
    first, second = pictures(1), pictures(2)
    assert_close(term.distance(first, second), reference_alex(term.distance, first, second))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_pictures_have_no_distance_and_a_gradient_leads_there(
    kind: str, files: Callable[[str], PerceptualConfig]
) -> None:
    term = load_perceptual(files(kind))
    assert term is not None
    truth, painted = pictures(3), pictures(4).requires_grad_()
    assert term.distance(truth, truth).abs().max() == 0
    before = term.distance(painted, truth)
    (slope,) = torch.autograd.grad(before.sum(), painted)
    after = term.distance(painted - 1e-3 * slope / slope.abs().max(), truth)
    assert after.sum() < before.sum()
    assert not any(weight.requires_grad for weight in term.distance.parameters())  # type: ignore[attr-defined]


def test_a_tap_follows_every_block_of_the_trunk() -> None:
    for kind, widths in {
        "lpips-alex": (64, 192, 384, 256, 256),
        "lpips-vgg": (64, 128, 256, 512, 512),
    }.items():
        net = Lpips(kind)
        assert tuple(len(weight) for weight in net.weights) == widths
        assert all(isinstance(net.features[tap], nn.ReLU) for tap in net.taps)


@pytest.mark.parametrize("broken", ["trunk_file", "heads_file"])
def test_a_file_that_is_not_the_published_one_is_refused_with_its_name(
    broken: str, files: Callable[[str], PerceptualConfig]
) -> None:
    config = files("lpips-alex")
    path = Path(getattr(config, broken))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="SHA-256") as error:
        load_perceptual(config)
    assert str(path) in str(error.value) and broken in str(error.value)


def test_weights_of_another_net_are_refused_even_with_the_right_sum(
    files: Callable[[str], PerceptualConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    vgg = files("lpips-vgg")
    monkeypatch.setitem(PUBLISHED_SHA256, "lpips-alex", PUBLISHED_SHA256["lpips-vgg"])
    with pytest.raises(CheckpointError, match="trunk and heads do not fit"):
        load_perceptual(replace(vgg, kind="lpips-alex"))


def test_asking_for_lpips_without_files_says_which_and_what_else_there_is() -> None:
    config = PerceptualConfig(kind="lpips-vgg")
    with pytest.raises(ConfigError, match=r"perceptual\.trunk_file.*vgg16-397923af\.pth.*pyramid"):
        check_perceptual(config, side_px=64)
    with pytest.raises(CheckpointError, match="'nowhere' is not there"):
        check_perceptual(replace(config, trunk_file="nowhere", heads_file="x"), side_px=64)


def test_frames_too_small_for_a_trunk_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="at least 32 px a side, got 16"):
        check_perceptual(PerceptualConfig(kind="lpips-alex"), side_px=16)
    for kind in (*KINDS, "pyramid"):
        smallest = perceptual.SMALLEST_PX[kind]
        distance = pyramid_distance if kind == "pyramid" else Lpips(kind)
        small = [pictures(seed, height=smallest, width=smallest) for seed in (0, 1)]
        assert distance(*small).isfinite().all()


def test_the_pyramid_prefers_a_blur_less_than_the_squared_error_does() -> None:
    truth = (pictures(5, height=64, width=64) > 0.5).float()
    blurred = functional.avg_pool2d(truth, 5, stride=1, padding=2)
    # As wrong by squared error, but only in brightness.
    shifted = truth + (truth - blurred).square().mean().sqrt()
    assert_close((shifted - truth).square().mean(), (blurred - truth).square().mean())
    assert (pyramid_distance(blurred, truth) > 10 * pyramid_distance(shifted, truth)).all()
    assert pyramid_distance(truth, truth).abs().max() == 0


def test_the_same_error_counts_more_where_the_truth_is_plain() -> None:
    busy = (pictures(6, height=32, width=32) > 0.5).float()
    plain = torch.full_like(busy, 0.5)
    error = 0.05 * torch.randn(busy.shape, generator=seeded(7))
    assert (pyramid_distance(plain + error, plain) > pyramid_distance(busy + error, busy)).all()


@pytest.mark.parametrize("kind", ["none", "pyramid"])
def test_only_lpips_is_called_lpips(kind: str) -> None:
    config = PerceptualConfig(kind=kind)  # type: ignore[arg-type]
    assert "not" in config.metric_name or "lpips" not in config.metric_name
    assert "LPIPS" not in config.loss_name or "not LPIPS" in config.loss_name
    assert PerceptualConfig(kind="lpips-alex").metric_name == "lpips_alex"


def test_the_term_is_added_with_its_weight_and_keeps_its_own_scale() -> None:
    frames = random_frames(16, 16, rows=2, num_frames=4)
    reports = {}
    for weight in (0.2, 0.4):
        term = load_perceptual(PerceptualConfig(kind="pyramid", weight=weight))
        objective = TokenizerObjective(make_tokenizer("conv"), perceptual=term)
        reports[weight] = objective(frames, rng=seeded(1))
        assert float(objective.perceptual_rms.num_updates) == 1
    plain = TokenizerObjective(make_tokenizer("conv"))(frames, rng=seeded(1))
    # In the first step every term, divided by its own running root mean square, is 1.
    assert_close(plain.total, torch.tensor(1.0))
    for weight, report in reports.items():
        assert_close(report.total, torch.tensor(1 + weight))
        assert report.terms["pyramid_not_lpips"] > 0
        assert report.terms["mse"] == plain.terms["mse"]


def test_the_weights_of_a_term_are_neither_saved_nor_trained(
    files: Callable[[str], PerceptualConfig],
) -> None:
    objective = TokenizerObjective(
        make_tokenizer("conv"), perceptual=load_perceptual(files("lpips-alex"))
    )
    bare = TokenizerObjective(make_tokenizer("conv"))
    assert [name for name, _ in objective.named_parameters()] == [
        name for name, _ in bare.named_parameters()
    ]
    extra = set(objective.state_dict()) - set(bare.state_dict())
    assert extra == {"perceptual_rms.mean_square", "perceptual_rms.num_updates"}


def test_every_second_frame_of_a_window_is_compared() -> None:
    term = load_perceptual(PerceptualConfig(kind="pyramid"))
    assert term is not None
    painted, target = (pictures(seed, rows=8).unflatten(0, (2, 4)) for seed in (8, 9))
    changed = painted.clone()
    changed[:, 1::2] = 0
    assert term(painted, target) == term(changed, target)
    changed[:, 2] = 0
    assert term(painted, target) != term(changed, target)


def test_a_config_without_the_term_is_written_as_before_the_term_was_known() -> None:
    assert "perceptual" not in to_dict(TokenizerTrainingConfig())
    with pytest.raises(ConfigError, match="weight above 0"):
        PerceptualConfig(kind="pyramid", weight=0.0)
