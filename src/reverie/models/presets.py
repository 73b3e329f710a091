"""Named sizes: tokenizer and dynamics that belong together, from a laptop to published models.

A preset is only the shape of the networks. How to train one is a recipe.
"""

from dataclasses import dataclass, replace

from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.shortcut import ShortcutConfig
from reverie.models.tokenizer.causal import CausalTokenizerConfig
from reverie.models.tokenizer.conv import ConvTokenizerConfig
from reverie.nn.blocks import StackConfig
from reverie.nn.quirks import MMBENCH2

TokenizerConfig = ConvTokenizerConfig | CausalTokenizerConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """Configs of a tokenizer and of the dynamics that dreams in its latents."""

    tokenizer_name: str
    """Name in the registry of tokenizers."""
    tokenizer: TokenizerConfig
    dynamics: DynamicsConfig


def pocket(tasks: tuple[str, ...] = ()) -> Preset:
    """64x64, 1.25 million parameters: two CPU cores, continuous integration, laptops."""
    return _pair(
        "conv",
        ConvTokenizerConfig(),
        tasks,
        stack=StackConfig(width=128, depth=4, num_heads=4, num_kv_heads=4, time_every=2),
        num_registers=2,
        num_agents=1,
        context=8,
        shortcut=ShortcutConfig(num_levels=16),
        commit_level=14,
    )


def small(tasks: tuple[str, ...] = ()) -> Preset:
    """128x128, 60 million parameters: one consumer GPU with 12 to 24 GB."""
    layers = StackConfig(width=384, depth=6, num_heads=6, num_kv_heads=6, time_every=3)
    tokenizer = causal((128, 128), 8, layers, latents=(64, 32), context=48)
    return _pair(
        "causal",
        tokenizer,
        tasks,
        packing=2,
        stack=StackConfig(width=512, depth=12, num_heads=8, num_kv_heads=2, time_every=4),
        num_registers=4,
        num_agents=1,
        context=48,
    )


def full(tasks: tuple[str, ...] = (), *, context: int = 48, num_kv_heads: int = 8) -> Preset:
    """224x224, 341 million parameters: the geometry of MMBench2's models (arXiv 2606.27326).

    Args:
        tasks: Tasks the model will be trained on.
        context: C of both networks; 24 to dream with the published weights, 48 for own runs.
        num_kv_heads: 8 as published; 2 shrinks the cache of own runs to a quarter.
    """
    layers = StackConfig(width=512, depth=12, num_heads=8, num_kv_heads=8, time_every=1)
    tokenizer = causal((224, 224), 14, layers, latents=(64, 64), context=context)
    stack = StackConfig(width=1024, depth=16, num_heads=8, num_kv_heads=num_kv_heads, time_every=2)
    return _pair(
        "causal",
        tokenizer,
        tasks,
        packing=2,
        stack=stack,
        num_registers=4,
        num_agents=4,
        context=context,
        num_flow_steps=8,
    )


def released(tasks: tuple[str, ...] = ()) -> Preset:
    """224x224, 341 million parameters: exactly the network of MMBench2's published weights."""
    layers = StackConfig(
        width=512,
        depth=12,
        num_heads=8,
        num_kv_heads=8,
        time_every=1,
        mlp_hidden=1365,
        quirks=MMBENCH2,
    )
    tokenizer = causal((224, 224), 14, layers, latents=(64, 64), context=24)
    stack = StackConfig(
        width=1024,
        depth=16,
        num_heads=8,
        num_kv_heads=8,
        time_every=2,
        mlp_hidden=2730,
        quirks=MMBENCH2,
    )
    return _pair(
        "causal",
        tokenizer,
        tasks,
        packing=2,
        stack=stack,
        num_registers=4,
        num_agents=4,
        context=24,
        num_flow_steps=8,
        action_hidden=2048,
        commit_signal=0.9,
        embeds_tasks=True,
    )


def released_heads() -> HeadsConfig:
    """Reward and policy heads of MMBench2's published weights: 15 million parameters."""
    return HeadsConfig(
        num_distances=8,
        num_bins=255,
        reward_limit=10.0,
        lowest_reward=-10.0,
        mlp_hidden=1365,
        has_continue=False,
        num_policy_distances=8,
        quirks=MMBENCH2,
    )


def coinrun(tasks: tuple[str, ...] = ()) -> Preset:
    """64x64, 15 actions: geometry of klee972/dreamer4-nnx for CoinRun."""
    layers = StackConfig(width=512, depth=4, num_heads=8, num_kv_heads=8, time_every=4)
    tokenizer = causal((64, 64), 16, layers, latents=(16, 32), context=48)
    stack = StackConfig(width=768, depth=12, num_heads=12, num_kv_heads=3, time_every=4)
    return _published(tokenizer, tasks, stack=stack, action_width=15)


def calvin(tasks: tuple[str, ...] = ()) -> Preset:
    """96x96, 7 continuous actions: geometry of klee972/dreamer4-nnx for CALVIN."""
    encoder = StackConfig(width=512, depth=6, num_heads=8, num_kv_heads=8, time_every=3)
    decoder = replace(encoder, depth=4, time_every=2)
    tokenizer = causal((96, 96), 16, encoder, decoder, latents=(32, 32), context=72)
    stack = StackConfig(width=768, depth=8, num_heads=12, num_kv_heads=3, time_every=4)
    return _published(tokenizer, tasks, stack=stack, action_width=7)


def minecraft(tasks: tuple[str, ...] = ()) -> Preset:
    """224x384, 23 keys and 121 mouse moves: klee972/dreamer4-nnx for Minecraft."""
    layers = StackConfig(width=768, depth=12, num_heads=12, num_kv_heads=12, time_every=4)
    tokenizer = causal((224, 384), 16, layers, latents=(32, 64), context=48)
    stack = StackConfig(width=1536, depth=20, num_heads=24, num_kv_heads=6, time_every=4)
    return _published(tokenizer, tasks, stack=stack, action_width=144)


def causal(
    frame_px: tuple[int, int],
    patch_px: int,
    encoder: StackConfig,
    decoder: StackConfig | None = None,
    *,
    latents: tuple[int, int],
    context: int,
) -> CausalTokenizerConfig:
    """Lay out a transformer tokenizer.

    Args:
        frame_px: Height and width.
        patch_px: Side of a patch.
        encoder: Layers of the encoder.
        decoder: Layers of the decoder; the encoder's by default.
        latents: Tokens of a frame and their channels.
        context: Frames that a latent token sees, its own included.
    """
    return CausalTokenizerConfig(
        height_px=frame_px[0],
        width_px=frame_px[1],
        patch_px=patch_px,
        encoder=encoder,
        decoder=decoder or encoder,
        num_tokens=latents[0],
        latent_channels=latents[1],
        context=context,
    )


def _published(
    tokenizer: CausalTokenizerConfig,
    tasks: tuple[str, ...],
    *,
    stack: StackConfig,
    action_width: int,
) -> Preset:
    # Differs from the paper's reimplementation: a quarter of the KV heads, N = 64, no biases.
    return _pair(
        "causal",
        tokenizer,
        tasks,
        stack=stack,
        num_registers=4,
        num_agents=0,
        action_width=action_width,
        context=tokenizer.context,
    )


def _pair(
    name: str, tokenizer: TokenizerConfig, tasks: tuple[str, ...], **dynamics: object
) -> Preset:
    defaults = {"shortcut": ShortcutConfig(num_levels=64), "commit_level": 58}
    config = DynamicsConfig(
        num_latent_tokens=tokenizer.num_tokens,
        num_latent_channels=tokenizer.latent_channels,
        tasks=tasks,
        **{**defaults, **dynamics},  # type: ignore[arg-type]
    )
    return Preset(tokenizer_name=name, tokenizer=tokenizer, dynamics=config)
