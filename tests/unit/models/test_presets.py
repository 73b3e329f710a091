import pytest
import torch

from reverie.models import presets
from reverie.models.dynamics.net import DynamicsNet
from reverie.models.presets import Preset
from reverie.models.tokenizer import TOKENIZERS

SPEC = {
    # name: (tokenizer, dynamics without agents, with agents)
    "pocket": (225_155, 960_104, 1_025_768),
    "small": (23_901_664, 35_566_008, 35_828_664),
    "full": (101_929_548, 237_344_576, 239_445_824),
    "coinrun": (28_243_344, 79_447_892, None),
    "calvin": (36_686_256, 53_187_608, None),
    "minecraft": (185_633_768, 527_860_120, None),
}
NO_AGENTS = ("agent_base", "agent_language")


def make(name: str) -> Preset:
    return getattr(presets, name)()


@pytest.mark.parametrize("name", SPEC)
def test_tokenizers_have_the_published_number_of_parameters(name: str) -> None:
    preset = make(name)
    with torch.device("meta"):
        tokenizer = TOKENIZERS.load(preset.tokenizer_name)(preset.tokenizer)
    assert sum(x.numel() for x in tokenizer.parameters()) == SPEC[name][0]


@pytest.mark.parametrize("name", SPEC)
def test_dynamics_have_the_published_number_of_parameters(name: str) -> None:
    preset = make(name)
    with torch.device("meta"):
        net = DynamicsNet(preset.dynamics)
    sizes = {key: value.numel() for key, value in net.named_parameters()}
    _, without, with_agents = SPEC[name]
    assert sum(size for key, size in sizes.items() if key not in NO_AGENTS) == without
    assert sum(sizes.values()) == (without if with_agents is None else with_agents)
    assert preset.dynamics.num_parameters == sum(sizes.values())


@pytest.mark.parametrize(
    ("name", "values_per_frame", "compression", "tokens"),
    [("pocket", 256, 48, 20), ("small", 2048, 24, 38), ("full", 4096, 37, 38)],
)
def test_presets_squeeze_a_frame_as_much_as_they_say(
    name: str, values_per_frame: int, compression: int, tokens: int
) -> None:
    preset = make(name)
    spec = (
        TOKENIZERS.load(preset.tokenizer_name)(preset.tokenizer).frame_spec
        if name == "pocket"
        else None
    )
    if spec is None:
        height, width = preset.tokenizer.height_px, preset.tokenizer.width_px  # type: ignore[union-attr]
    else:
        height, width = spec.height_px, spec.width_px
    values = preset.tokenizer.num_tokens * preset.tokenizer.latent_channels
    assert values == values_per_frame
    assert round(3 * height * width / values) == compression
    assert preset.dynamics.num_tokens - preset.dynamics.num_agents == tokens


@pytest.mark.parametrize("name", SPEC)
def test_dynamics_dream_in_the_latents_of_their_tokenizer(name: str) -> None:
    preset = make(name)
    assert preset.dynamics.num_latent_tokens == preset.tokenizer.num_tokens
    assert preset.dynamics.num_latent_channels == preset.tokenizer.latent_channels
    levels = preset.dynamics.shortcut.num_levels
    assert preset.dynamics.commit_level == round(0.9 * levels)


def test_a_quarter_of_the_kv_heads_makes_an_own_full_run_smaller() -> None:
    own = presets.full(num_kv_heads=2).dynamics
    assert own.num_parameters < make("full").dynamics.num_parameters
    assert presets.full(context=24).tokenizer.context == 24  # type: ignore[union-attr]
