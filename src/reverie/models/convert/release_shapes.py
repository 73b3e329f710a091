"""Names and shapes of the tensors in the MMBench2 release, written out from a config."""

from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.tokenizer.causal import CausalTokenizerConfig
from reverie.nn.blocks import StackConfig

Shapes = dict[str, tuple[int, ...]]


def tokenizer_shapes(config: CausalTokenizerConfig) -> Shapes:
    """List the tensors of ``tokenizer.pt``."""
    width, back = config.encoder.width, config.decoder.width
    return {
        **_linear("encoder.patch_proj", config.patch_dim, width),
        "encoder.latents": (config.num_tokens, width),
        "encoder.mae.mask_token": (width,),
        **_linear("encoder.bottleneck_proj", width, config.latent_channels),
        **_layers("encoder.transformer.layers", config.encoder),
        **_linear("decoder.up_proj", config.latent_channels, back),
        "decoder.patch_queries": (config.num_patches, back),
        **_linear("decoder.patch_head", back, config.patch_dim),
        **_layers("decoder.transformer.layers", config.decoder),
    }


def dynamics_shapes(config: DynamicsConfig) -> Shapes:
    """List the tensors of the dynamics in ``dynamics.pt``."""
    width, inside = config.stack.width, config.action_hidden or config.stack.width
    shapes = {
        **_linear("spatial_proj", config.spatial_dim, width),
        "register_tokens": (config.num_registers, width),
        "action_encoder.base": (width,),
        **_linear("action_encoder.fc1", config.action_width, inside),
        **_linear("action_encoder.fc2", inside, width),
        "step_embed.weight": (config.shortcut.finest_exponent + 1, width // 2),
        "signal_embed.weight": (config.num_labels, width // 2),
        **_linear("flow_x_head", width, config.spatial_dim),
        **_layers("transformer.layers", config.stack),
    }
    if config.num_agents and config.language_dim:
        shapes |= _linear("task_proj", config.language_dim, config.num_agents * width)
    return shapes


def reward_shapes(width: int, config: HeadsConfig) -> Shapes:
    """List the tensors of the reward head; the centres of the bins are no parameter."""
    out = config.num_distances * config.num_bins
    return {**_head(width, config, out), "centers_log": (config.num_bins,)}


def policy_shapes(width: int, config: HeadsConfig, action_width: int) -> Shapes:
    """List the tensors of the policy head."""
    return _head(width, config, config.num_policy_distances * action_width)


def _head(width: int, config: HeadsConfig, out: int) -> Shapes:
    hidden = config.mlp_hidden or 2 * width
    return {
        "pool_query": (width,),
        "pool_kv.weight": (2 * width, width),
        **_linear("projector.fc_in", width, 2 * hidden),
        **_linear("projector.fc_out", hidden, width),
        **_linear("out", width, out),
    }


def _layers(prefix: str, stack: StackConfig) -> Shapes:
    shapes: Shapes = {}
    for index in range(stack.depth):
        name = f"{prefix}.{index}"
        shapes |= {f"{name}.norm1.scale": (stack.width,), f"{name}.norm3.scale": (stack.width,)}
        shapes |= _attention(f"{name}.space.attn", stack)
        if stack.has_time(index):
            shapes |= {f"{name}.norm2.scale": (stack.width,)}
            shapes |= _attention(f"{name}.time.attn", stack)
        shapes |= _linear(f"{name}.mlp.fc_in", stack.width, 2 * stack.hidden)
        shapes |= _linear(f"{name}.mlp.fc_out", stack.hidden, stack.width)
    return shapes


def _attention(name: str, stack: StackConfig) -> Shapes:
    return {
        **_linear(f"{name}.qkv", stack.width, 3 * stack.width),
        **_linear(f"{name}.out", stack.width, stack.width),
        f"{name}.log_qk_scale": (stack.num_heads,),
    }


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
