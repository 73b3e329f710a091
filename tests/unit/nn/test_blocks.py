import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.core.errors import ConfigError
from reverie.nn.blocks import Layer, Stack, StackConfig, banded_mask
from reverie.nn.kv_cache import Cache
from reverie.nn.mlp import hidden_width
from reverie.nn.norm import RMSNorm
from reverie.nn.rope import Rotation
from tests.support.dreams import seeded

CPU = torch.device("cpu")
AWKWARD = StackConfig(width=24, depth=4, num_heads=4, num_kv_heads=2, time_every=2)
ONE = StackConfig(width=2, depth=1, num_heads=1, num_kv_heads=1, time_every=1)


def make(config: StackConfig) -> Stack:
    torch.manual_seed(2)
    return Stack(config)


def window(config: StackConfig, b: int, t: int, n: int) -> Tensor:
    return torch.randn((b, t, n, config.width), generator=seeded())


def test_the_band_lets_a_frame_see_itself_and_c_minus_one_before() -> None:
    mask = banded_mask(5, 3, CPU)
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]
    assert banded_mask(1, 1, CPU).tolist() == [[True]]


@pytest.mark.parametrize("age", [3, 4])
def test_frame_t_minus_c_changes_a_net_of_one_time_layer_by_exactly_nothing(age: int) -> None:
    context = 4
    config = StackConfig(width=24, depth=3, num_heads=4, num_kv_heads=2, time_every=2)
    assert config.num_time_layers == 1
    net, x = make(config), window(config, 2, 7, 3)
    changed = x.clone()
    changed[:, 6 - age] += 5.0
    outs = [net(y, None, banded_mask(7, context, CPU))[0][:, 6] for y in (x, changed)]
    assert torch.equal(*outs) == (age >= context)


@pytest.mark.parametrize(
    "config",
    [AWKWARD, ONE, StackConfig(width=30, depth=7, num_heads=5, num_kv_heads=1, time_every=3)],
)
def test_a_stack_has_as_many_parameters_as_its_config_says(config: StackConfig) -> None:
    assert sum(x.numel() for x in make(config).parameters()) == config.num_parameters
    assert sum(layer.time is not None for layer in make(config).layers) == config.num_time_layers  # type: ignore[union-attr]


def test_tokens_that_time_leaves_out_pass_through_it_unchanged() -> None:
    config = StackConfig(width=24, depth=1, num_heads=4, num_kv_heads=4, time_every=1)
    layer = Layer(config, has_time=True)
    x = window(config, 2, 5, 6)
    moved, past = layer.mix_time(x, Rotation.of(torch.arange(5), 6), banded_mask(5, 3, CPU), 2)
    assert torch.equal(moved[:, :, 2:], x[:, :, 2:])
    assert not torch.allclose(moved[:, :, :2], x[:, :, :2])
    assert past.keys.shape == (2, 2, 5, 4, 6)


def test_time_layers_change_patch_tokens_of_a_one_frame_window_by_nothing() -> None:
    """With patches that see only patches, removing time attention must not move them."""
    net = make(StackConfig(width=24, depth=4, num_heads=4, num_kv_heads=4, time_every=1))
    x = window(net.config, 2, 1, 6)
    is_latent = torch.arange(6) < 2
    sees = is_latent[:, None] | ~is_latent[None, :]
    with_time, _ = net(x, sees, banded_mask(1, 3, CPU), 2)
    for layer in net.layers:
        layer.time, layer.time_norm = None, None  # type: ignore[assignment]
    without, _ = net(x, sees, banded_mask(1, 3, CPU), 2)
    assert torch.equal(with_time[:, :, 2:], without[:, :, 2:])
    assert not torch.allclose(with_time[:, :, :2], without[:, :, :2])


def test_rows_with_masks_of_their_own_get_their_own() -> None:
    net, x = make(AWKWARD), window(AWKWARD, 2, 5, 3)
    band, alone = banded_mask(5, 3, CPU), torch.eye(5, dtype=torch.bool)
    both, _ = net(x, None, torch.stack([band, alone]))
    assert_close(both[:1], net(x[:1], None, band)[0], atol=1e-5, rtol=1e-5)
    assert_close(both[1:], net(x[1:], None, alone)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("config", "n", "moving"), [(AWKWARD, 5, 5), (AWKWARD, 5, 2), (ONE, 1, 1)])
def test_frames_stepped_one_by_one_equal_the_whole_window(
    config: StackConfig, n: int, moving: int
) -> None:
    net, x = make(config), window(config, 2, 10, n)
    whole, _ = net(x, None, banded_mask(10, 3, CPU), moving)
    _, past = net(x[:, :1], None, banded_mask(1, 3, CPU), moving)
    cache = Cache.from_window(past, 3)
    for time in range(1, 10):
        position, blocks = cache.blocks()
        assert position <= 2
        out, now = net.step(x[:, time], net.look_back(n, None, position, blocks), moving)
        cache = cache.commit(now)
        assert_close(out, whole[:, time], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def residual_growth(net: Stack) -> float:
    x, stds = net.norm_in(window(net.config, 1, 3, 5)), []
    for layer in net.layers:
        assert isinstance(layer, Layer)
        x = layer.mix_space(x, Rotation.of(torch.arange(5), 16), None)
        if layer.time is not None:
            x, _ = layer.mix_time(x, Rotation.of(torch.arange(3), 16), banded_mask(3, 3, CPU), 5)
        x = layer.feed_forward(x)
        stds.append(float(x.std()))
    return stds[-1] / stds[0]


def test_the_residual_stays_tame_through_thirty_layers() -> None:
    """Output matrices shrink by 1 / sqrt(2 depth); the second net shows what happens without."""
    net = make(StackConfig(width=64, depth=30, num_heads=4, num_kv_heads=4, time_every=4))
    growth = residual_growth(net)
    assert growth <= 2
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                parameter.mul_(60**0.5)
    assert residual_growth(net) > 1.5 * growth


def test_output_matrices_start_smaller_by_the_root_of_twice_the_depth() -> None:
    bound = 1 / 64**0.5 / (2 * 30) ** 0.5
    config = StackConfig(width=64, depth=30, num_heads=4, num_kv_heads=4, time_every=1)
    layer = Layer(config, has_time=True)
    assert layer.time is not None
    for linear in (layer.space.out, layer.time.out):
        assert 0.9 * bound < float(linear.weight.detach().abs().max()) <= bound
    hidden = hidden_width(64)
    assert float(layer.mlp.down.weight.detach().abs().max()) <= 1 / (hidden * 60) ** 0.5


@pytest.mark.parametrize(("width", "hidden"), [(128, 352), (384, 1024), (512, 1376), (1, 32)])
def test_hidden_widths_are_eight_thirds_rounded_up_to_32(width: int, hidden: int) -> None:
    assert hidden_width(width) == hidden


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_gives_unit_size_whatever_comes_in(dtype: torch.dtype) -> None:
    x = torch.randn((3, 5, 64), generator=seeded()) * torch.tensor([[1e-2], [1.0], [1e4]])[:, None]
    out = RMSNorm(64)(x.to(dtype))
    assert out.dtype == dtype
    assert_close(out.float().square().mean(dim=-1), torch.ones(3, 5), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"time_every": 0}, "time_every of a stack must be at least 1, got 0"),
        ({"depth": -1}, "depth of a stack must be at least 1, got -1"),
        ({"num_heads": 3}, "got width 32, num_heads 3, num_kv_heads 2. Try width 192"),
        ({"num_heads": 1}, "num_heads 1, num_kv_heads 2"),
    ],
)
def test_sizes_that_no_layer_can_have_are_refused(change: dict[str, int], text: str) -> None:
    sizes = {"width": 32, "depth": 2, "num_heads": 2, "num_kv_heads": 2, "time_every": 2}
    with pytest.raises(ConfigError) as caught:
        StackConfig(**(sizes | change))
    assert text in str(caught.value)
