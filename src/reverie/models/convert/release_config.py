"""Configs of our modules from the shapes of the release's tensors.

The shapes are the authority; the command line in the file is a cross-check, and any disagreement
is an error.
"""

import math
from typing import Any

from reverie.core.errors import CheckpointError
from reverie.models.convert.release_files import ReleaseFile, State, layer_indices
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.shortcut import ShortcutConfig
from reverie.models.tokenizer.causal import CausalTokenizerConfig
from reverie.nn.blocks import StackConfig
from reverie.nn.quirks import MMBENCH2

CONTEXT_FRAMES = 24
"""Frames of a window that the release trained on, where the file does not say it."""
MAX_LAYERS = 512
CENTRE_TOLERANCE = 1e-4


def tokenizer_config(file: ReleaseFile) -> CausalTokenizerConfig:
    """Read the tokenizer's config off its shapes."""
    width, patch_dim = file.shape("encoder.patch_proj.weight", rank=2)
    patch = math.isqrt(patch_dim // 3)
    _demand(file, "encoder.patch_proj.weight", patch_dim == 3 * patch**2, "3 times a square wide")
    num_patches, _ = file.shape("decoder.patch_queries", rank=2)
    num_tokens, _ = file.shape("encoder.latents", rank=2)
    channels, _ = file.shape("encoder.bottleneck_proj.weight", rank=2)
    height, width_px = _frame_size(file, num_patches, patch)
    encoder, decoder = (
        _stack(file, f"{side}.transformer.layers") for side in ("encoder", "decoder")
    )
    _cross_check(
        file,
        {
            "patch": patch,
            "C": 3,
            "d_model": width,
            "n_heads": encoder.num_heads,
            "depth": encoder.depth,
            "n_latents": num_tokens,
            "d_bottleneck": channels,
            "time_every": encoder.time_every,
        },
    )
    _check_ratio(file, "mlp_ratio", encoder.width, encoder.hidden)
    return CausalTokenizerConfig(
        height_px=height,
        width_px=width_px,
        patch_px=patch,
        encoder=encoder,
        decoder=decoder,
        num_tokens=num_tokens,
        latent_channels=channels,
        context=_context(file),
    )


def dynamics_config(
    file: ReleaseFile,
    tokenizer: CausalTokenizerConfig,
    *,
    tasks: tuple[str, ...],
    num_flow_steps: int,
    context_noise: float,
) -> DynamicsConfig:
    """Read the config of the dynamics off its shapes.

    Args:
        file: ``dynamics.pt``.
        tokenizer: Whose latents it dreams in: the packing follows from both.
        tasks: Names of the tasks.
        num_flow_steps: K, not part of the weights.
        context_noise: Share of noise in context frames, not part of the weights.
    """
    packing, levels = _packing(file, tokenizer), _num_levels(file)
    width, _ = file.shape("spatial_proj.weight", rank=2)
    inside, lanes = file.shape("action_encoder.fc1.weight", rank=2)
    stack = _stack(file, "transformer.layers")
    registers, _ = file.shape("register_tokens", rank=2)
    agents, language = _agents(file, width)
    _cross_check(
        file,
        {
            "d_model_dyn": width,
            "dyn_depth": stack.depth,
            "n_heads": stack.num_heads,
            "time_every": stack.time_every,
            "packing_factor": packing,
            "n_register": registers,
            "n_agent": agents,
            "k_max": levels,
        },
    )
    _check_ratio(file, "mlp_ratio", width, stack.hidden)
    return DynamicsConfig(
        num_latent_tokens=tokenizer.num_tokens,
        num_latent_channels=tokenizer.latent_channels,
        packing=packing,
        stack=stack,
        num_registers=registers,
        num_agents=agents,
        language_dim=language,
        action_width=lanes,
        context=_context(file),
        shortcut=ShortcutConfig(num_levels=levels),
        commit_level=max(1, min(round(levels * (1 - context_noise)), levels - 1)),
        num_flow_steps=num_flow_steps,
        tasks=tasks,
        action_hidden=inside,
        commit_signal=1 - context_noise,
        embeds_tasks=True,
    )


def heads_config(file: ReleaseFile, dynamics: DynamicsConfig) -> HeadsConfig:
    """Read the config of both heads off their shapes."""
    reward, policy = file.reward, file.policy
    width, numbers = dynamics.stack.width, {}
    if (reward or policy) and not dynamics.num_agents:
        raise CheckpointError(f"'{file.path}' has heads but no agent tokens for them to read.")
    hidden = {
        name: _head_shape(file, head, name, "projector.fc_out.weight")[-1]
        for name, head in (("rew_head", reward), ("policy_head", policy))
        if head is not None
    }
    if len(set(hidden.values())) > 1:
        raise CheckpointError(f"'{file.path}': the heads have different hidden widths: {hidden}.")
    if reward is not None:
        numbers |= _reward_numbers(file, reward)
        _check_ratio(file, "reward_mlp_ratio", width, hidden["rew_head"])
        _cross_check(file, {"reward_pool_agent": "attn"})
    if policy is not None:
        rows = _head_shape(file, policy, "policy_head", "out.weight")[0]
        count = rows // dynamics.action_width
        _cross_check(
            file,
            {"bc_L": count, "bc_act_dim": dynamics.action_width, "bc_pool_agent": "attn"},
        )
        _check_ratio(file, "bc_mlp_ratio", width, hidden["policy_head"])
        numbers["num_policy_distances"] = count
    return HeadsConfig(
        has_reward=reward is not None,
        has_continue=False,
        mlp_hidden=next(iter(hidden.values()), None),
        quirks=MMBENCH2,
        **numbers,
    )


def _reward_numbers(file: ReleaseFile, reward: State) -> dict[str, Any]:
    rows = _head_shape(file, reward, "rew_head", "out.weight")[0]
    bins = _head_shape(file, reward, "rew_head", "centers_log")[0]
    centres = reward["centers_log"].double()
    low, high = float(centres[0]), float(centres[-1])
    even = centres.new_tensor([low + (high - low) * i / max(bins - 1, 1) for i in range(bins)])
    if bins < 3 or not low < high or float((centres - even).abs().max()) > CENTRE_TOLERANCE:
        raise CheckpointError(
            f"'{file.path}': 'rew_head.centers_log' is no even, rising grid of at least 3 bins."
        )
    count = rows // bins
    _cross_check(file, {"reward_L": count, "reward_num_bins": bins})
    for name, value in (("reward_log_low", low), ("reward_log_high", high)):
        told = file.arguments.get(name)
        if told is not None and not _is_close(told, value):
            raise _disagreement(file, name, told, value)
    return {
        "num_distances": count,
        "num_bins": bins,
        "reward_limit": round(high, 6),
        "lowest_reward": round(low, 6),
    }


def _packing(file: ReleaseFile, tokenizer: CausalTokenizerConfig) -> int:
    _, spatial = file.shape("spatial_proj.weight", rank=2)
    packing = spatial // tokenizer.latent_channels
    fits = packing * tokenizer.latent_channels == spatial and not tokenizer.num_tokens % packing
    _demand(
        file,
        "spatial_proj.weight",
        fits,
        f"as wide as some of the tokenizer's {tokenizer.num_tokens} latents of "
        f"{tokenizer.latent_channels} channels together: the files are of two variants",
    )
    return packing


def _num_levels(file: ReleaseFile) -> int:
    labels, _ = file.shape("signal_embed.weight", rank=2)
    levels = labels - 1
    _demand(
        file,
        "signal_embed.weight",
        levels >= 2 and levels.bit_count() == 1,
        "one row longer than a power of two",
    )
    return levels


def _stack(file: ReleaseFile, prefix: str) -> StackConfig:
    layers = layer_indices(file.state, prefix)
    if not layers or layers != list(range(len(layers))) or len(layers) > MAX_LAYERS:
        raise CheckpointError(
            f"'{file.path}': layers below '{prefix}' are {layers[:8]}, expected 0, 1, 2, …"
        )
    timed = [i for i in layers if f"{prefix}.{i}.time.attn.qkv.weight" in file.state]
    every = timed[0] + 1 if timed else 0
    if timed != [i for i in layers if every and (i + 1) % every == 0]:
        raise CheckpointError(
            f"'{file.path}': the layers of '{prefix}' with time attention are {timed}, expected "
            f"every n-th one."
        )
    first = f"{prefix}.0"
    (num_heads,) = file.shape(f"{first}.space.attn.log_qk_scale", rank=1)
    width, hidden = file.shape(f"{first}.mlp.fc_out.weight", rank=2)
    return StackConfig(
        width=width,
        depth=len(layers),
        num_heads=num_heads,
        num_kv_heads=num_heads,
        time_every=every or len(layers) + 1,
        mlp_hidden=hidden,
        quirks=MMBENCH2,
    )


def _frame_size(file: ReleaseFile, num_patches: int, patch: int) -> tuple[int, int]:
    height, width = file.arguments.get("H"), file.arguments.get("W")
    if height is None and width is None:
        side = math.isqrt(num_patches)
        _demand(
            file,
            "decoder.patch_queries",
            side**2 == num_patches,
            "a square number of rows long, as the file does not say the frame's size",
        )
        return side * patch, side * patch
    if not (type(height) is int and type(width) is int and height > 0 and width > 0):
        raise _disagreement(file, "H and W", (height, width), "two sides in pixels")
    if height % patch or width % patch or height * width != num_patches * patch**2:
        raise _disagreement(
            file, "H and W", (height, width), f"{num_patches} patches of {patch} pixels"
        )
    return height, width


def _agents(file: ReleaseFile, width: int) -> tuple[int, int]:
    told = file.arguments.get("n_agent")
    if "task_proj.weight" in file.state:
        rows, language = file.shape("task_proj.weight", rank=2)
        _demand(file, "task_proj.weight", rows % width == 0, "a multiple of the width long")
        _cross_check(file, {"lang_dim": language})
        return rows // width, language
    if told not in (None, 0):
        raise _disagreement(file, "n_agent", told, "no 'task_proj.weight', so no agent tokens")
    language = file.arguments.get("lang_dim")
    return 0, language if type(language) is int and 0 < language <= 1 << 16 else 512


def _context(file: ReleaseFile) -> int:
    told = file.arguments.get("seq_len", CONTEXT_FRAMES)
    if type(told) is not int or not 2 <= told <= 4096:
        raise _disagreement(file, "seq_len", told, "frames of a window")
    return told


def _head_shape(file: ReleaseFile, head: State, name: str, key: str) -> tuple[int, ...]:
    if key not in head or not head[key].ndim or 0 in head[key].shape:
        raise CheckpointError(f"'{file.path}' has no usable tensor '{name}.{key}'.")
    return tuple(head[key].shape)


def _check_ratio(file: ReleaseFile, name: str, width: int, hidden: int) -> None:
    ratio = file.arguments.get(name)
    if ratio is None:
        return
    is_number = isinstance(ratio, (int, float)) and math.isfinite(ratio)
    if not is_number or int(width * ratio * 2 / 3) != hidden:
        raise _disagreement(file, name, ratio, f"width {width} and hidden width {hidden}")


def _cross_check(file: ReleaseFile, found: dict[str, int | str]) -> None:
    for name, value in found.items():
        told = file.arguments.get(name)
        if told is not None and (type(told) is not type(value) or told != value):
            raise _disagreement(file, name, told, value)


def _demand(file: ReleaseFile, key: str, is_met: bool, expected: str) -> None:
    if not is_met:
        raise CheckpointError(
            f"'{file.path}': '{key}' has shape {tuple(file.state[key].shape)}, expected it to be "
            f"{expected}."
        )


def _disagreement(file: ReleaseFile, name: str, told: Any, found: Any) -> CheckpointError:
    return CheckpointError(
        f"'{file.path}' contradicts itself: its args say {name} = {str(told)[:80]!r}, its tensors "
        f"say {found!r}. Download it again; if it stays so, the file is not of the release."
    )


def _is_close(told: Any, value: float) -> bool:
    return isinstance(told, (int, float)) and abs(told - value) < CENTRE_TOLERANCE
