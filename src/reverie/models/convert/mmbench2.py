"""Weights of the MMBench2 release (arXiv 2606.27326) as a world model of our own modules.

What the release does otherwise is in ``nn.quirks.MMBENCH2``; there is no second model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from reverie.core.errors import CheckpointError
from reverie.models.convert.release_config import dynamics_config, heads_config, tokenizer_config
from reverie.models.convert.release_files import (
    ReleaseFile,
    State,
    read_dynamics_file,
    read_tokenizer_file,
)
from reverie.models.convert.release_shapes import (
    Shapes,
    dynamics_shapes,
    policy_shapes,
    reward_shapes,
    tokenizer_shapes,
)
from reverie.models.dynamics.heads import HeadsConfig
from reverie.models.dynamics.net import DynamicsConfig
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.load import make_world
from reverie.models.tokenizer.causal import CausalTokenizer, CausalTokenizerConfig
from reverie.nn.blocks import StackConfig

NUM_FLOW_STEPS = 8
"""K of the paper's dreams."""
CONTEXT_NOISE = 0.1
"""Share of noise in the paper's context frames."""
MAX_TASK_FILE_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskTable:
    """Names of tasks and the embeddings of their instructions."""

    names: tuple[str, ...]
    embeddings: Tensor | None = None
    """One row per task; None where no instruction is known: the heads then read zero tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """A converted model and what is known of its files."""

    world: ShortcutWorld
    tokenizer_file: ReleaseFile
    dynamics_file: ReleaseFile


def import_release(
    tokenizer_path: Path,
    dynamics_path: Path,
    tasks: TaskTable,
    *,
    num_flow_steps: int = NUM_FLOW_STEPS,
    context_noise: float = CONTEXT_NOISE,
) -> Imported:
    """Read the two files of a variant and build the world model they describe.

    Args:
        tokenizer_path: ``tokenizer.pt``.
        dynamics_path: ``dynamics.pt`` of the same variant.
        tasks: What the model is told about tasks.
        num_flow_steps: Flow steps a dreamed frame, a power of two.
        context_noise: Share of noise in frames that enter the cache. 0 is refused: no training
            visits the label of a clean frame.

    Raises:
        CheckpointError: A file is damaged, of another kind, names foreign code, or contradicts
            itself or the other file.
    """
    if not 0 < context_noise < 1:
        raise CheckpointError(
            f"context_noise must lie between 0 and 1, got {context_noise}. The label of a clean "
            f"frame was never trained; try {CONTEXT_NOISE}."
        )
    tokenizer_file = read_tokenizer_file(tokenizer_path)
    dynamics_file = read_dynamics_file(dynamics_path)
    try:
        outer = tokenizer_config(tokenizer_file)
        inner = dynamics_config(
            dynamics_file,
            outer,
            tasks=tasks.names,
            num_flow_steps=num_flow_steps,
            context_noise=context_noise,
        )
        heads = heads_config(dynamics_file, inner)
        table = _embeddings(tasks, inner)
    except ValueError as error:
        raise CheckpointError(
            f"'{tokenizer_path}' and '{dynamics_path}' describe no model that can work: {error}"
        ) from error
    tensors = _checked_tensors(tokenizer_file, dynamics_file, outer, inner, heads)
    tokenizer = CausalTokenizer(outer)
    world = make_world(tokenizer, inner, heads)
    tokenizer.load_state_dict(to_tokenizer_state(tensors["tokenizer"], outer))
    world.net.load_state_dict(to_dynamics_state(tensors["dynamics"], inner, table))
    for head, name in ((world.reward_head, "rew_head"), (world.policy_head, "policy_head")):
        if head is not None:
            head.load_state_dict(to_head_state(tensors[name]))
    return Imported(
        world=world.eval().requires_grad_(False),
        tokenizer_file=tokenizer_file,
        dynamics_file=dynamics_file,
    )


def read_task_table(path: Path) -> TaskTable:
    """Read ``tasks.json`` of the release: names and text embeddings.

    Raises:
        CheckpointError: It is not such a file.
    """
    try:
        if path.stat().st_size > MAX_TASK_FILE_BYTES:
            raise CheckpointError(f"'{path}' is too large for a table of tasks.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"'{path}' cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"'{path}' is no table of tasks: expected names with their facts.")
    rows: list[list[float]] = []
    for name, facts in content.items():
        row = facts.get("text_embedding") if isinstance(facts, dict) else None
        is_row = isinstance(row, list) and all(type(x) in (int, float) for x in row)
        if not is_row or not row or (rows and len(row) != len(rows[0])):
            raise CheckpointError(
                f"'{path}': the task '{name}' has no text_embedding of the same length as the "
                f"others."
            )
        rows.append(row)
    embeddings = torch.tensor(rows, dtype=torch.float64).float()
    if not bool(torch.isfinite(embeddings).all()):
        raise CheckpointError(f"'{path}' has a text_embedding that is not finite.")
    return TaskTable(names=tuple(content), embeddings=embeddings)


def to_tokenizer_state(state: State, config: CausalTokenizerConfig) -> State:
    """Rename and reorder the tensors of ``tokenizer.pt``.

    A patch is channel by channel there, pixel by pixel here.
    """
    side = {"c": 3, "p": config.patch_px, "q": config.patch_px}
    return {
        "patch_in.weight": rearrange(
            state["encoder.patch_proj.weight"], "m (c p q) -> m (p q c)", **side
        ),
        "patch_in.bias": state["encoder.patch_proj.bias"],
        "dropped_patch": state["encoder.mae.mask_token"],
        "latent_queries": state["encoder.latents"],
        **_renamed(state, "encoder.bottleneck_proj", "bottleneck"),
        **_renamed(state, "decoder.up_proj", "latent_in"),
        "patch_queries": state["decoder.patch_queries"],
        "patch_out.weight": rearrange(
            state["decoder.patch_head.weight"], "(c p q) m -> (p q c) m", **side
        ),
        "patch_out.bias": rearrange(state["decoder.patch_head.bias"], "(c p q) -> (p q c)", **side),
        "scale": torch.ones(()),
        **_to_stack_state(state, "encoder.transformer.layers", "encoder.layers", config.encoder),
        **_to_stack_state(state, "decoder.transformer.layers", "decoder.layers", config.decoder),
    }


def to_dynamics_state(state: State, config: DynamicsConfig, embeddings: Tensor) -> State:
    """Rename and reorder the tensors of the dynamics."""
    width, agents, language = config.stack.width, config.num_agents, config.language_dim
    talk, base = torch.zeros(agents, language, width), torch.zeros(agents, width)
    if agents:
        talk = rearrange(state["task_proj.weight"], "(g m) e -> g e m", g=agents)
        base = rearrange(state["task_proj.bias"], "(g m) -> g m", g=agents)
    return {
        **_renamed(state, "spatial_proj", "spatial_in"),
        **_renamed(state, "action_encoder.fc1", "action_fc1"),
        **_renamed(state, "action_encoder.fc2", "action_fc2"),
        "action_base": state["action_encoder.base"],
        "signal_embedding.weight": state["signal_embed.weight"],
        "step_embedding.weight": state["step_embed.weight"],
        "registers": state["register_tokens"],
        "agent_language": talk,
        "agent_base": base,
        "task_embeddings": embeddings,
        **_renamed(state, "flow_x_head", "flow_head"),
        **_to_stack_state(state, "transformer.layers", "stack.layers", config.stack),
    }


def to_head_state(state: State) -> State:
    """Rename the tensors of a head; the centres of reward bins follow from the config."""
    return {
        "trunk.query": state["pool_query"],
        "trunk.pool.weight": state["pool_kv.weight"],
        **_to_mlp_state(state, "projector", "trunk.mlp"),
        **_renamed(state, "out", "out"),
    }


def _to_stack_state(state: State, theirs: str, ours: str, config: StackConfig) -> State:
    out: State = {}
    for index in range(config.depth):
        old, new = f"{theirs}.{index}", f"{ours}.{index}"
        out[f"{new}.space_norm.gain"] = state[f"{old}.norm1.scale"]
        out[f"{new}.mlp_norm.gain"] = state[f"{old}.norm3.scale"]
        kinds = ["space"]
        if config.has_time(index):
            kinds.append("time")
            out[f"{new}.time_norm.gain"] = state[f"{old}.norm2.scale"]
        for kind in kinds:
            out |= _renamed(state, f"{old}.{kind}.attn.qkv", f"{new}.{kind}.project")
            out |= _renamed(state, f"{old}.{kind}.attn.out", f"{new}.{kind}.out")
            out[f"{new}.{kind}.gain_logit"] = state[f"{old}.{kind}.attn.log_qk_scale"]
        out |= _to_mlp_state(state, f"{old}.mlp", f"{new}.mlp")
    return out


def _to_mlp_state(state: State, theirs: str, ours: str) -> State:
    # The second half is the gate.
    out = _renamed(state, f"{theirs}.fc_out", f"{ours}.down")
    for kind in ("weight", "bias"):
        up, gate = state[f"{theirs}.fc_in.{kind}"].chunk(2, dim=0)
        out |= {f"{ours}.up.{kind}": up, f"{ours}.gate.{kind}": gate}
    return out


def _renamed(state: State, theirs: str, ours: str) -> State:
    return {f"{ours}.{kind}": state[f"{theirs}.{kind}"] for kind in ("weight", "bias")}


def _checked_tensors(
    tokenizer_file: ReleaseFile,
    dynamics_file: ReleaseFile,
    outer: CausalTokenizerConfig,
    inner: DynamicsConfig,
    heads: HeadsConfig,
) -> dict[str, State]:
    """Compare every tensor with the config before anything is built."""
    width = inner.stack.width
    parts: dict[str, tuple[Path, State | None, Shapes]] = {
        "tokenizer": (tokenizer_file.path, tokenizer_file.state, tokenizer_shapes(outer)),
        "dynamics": (dynamics_file.path, dynamics_file.state, dynamics_shapes(inner)),
        "rew_head": (dynamics_file.path, dynamics_file.reward, reward_shapes(width, heads)),
        "policy_head": (
            dynamics_file.path,
            dynamics_file.policy,
            policy_shapes(width, heads, inner.action_width),
        ),
    }
    for name, (path, state, shapes) in parts.items():
        if state is not None:
            _check_fit(path, name, state, shapes)
    return {name: state for name, (_, state, _) in parts.items() if state is not None}


def _check_fit(path: Path, part: str, state: State, shapes: Mapping[str, tuple[int, ...]]) -> None:
    problems = [f"'{key}' is missing" for key in shapes if key not in state]
    problems += [f"'{key}' is unknown" for key in state if key not in shapes]
    problems += [
        f"'{key}' has shape {tuple(state[key].shape)}, expected {shape}"
        for key, shape in shapes.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    if problems:
        raise CheckpointError(
            f"'{path}': the {part} does not fit together: {'; '.join(problems[:3])} "
            f"({len(problems)} differences). Download it again; if it stays so, it is not a "
            f"checkpoint of the release."
        )


def _embeddings(tasks: TaskTable, config: DynamicsConfig) -> Tensor:
    if tasks.embeddings is None or not config.num_agents:
        return torch.zeros(len(tasks.names), config.language_dim)
    if tasks.embeddings.shape[1] != config.language_dim:
        raise CheckpointError(
            f"The task table has embeddings of {tasks.embeddings.shape[1]} numbers, the model "
            f"reads {config.language_dim}. Use the tasks.json of the same release."
        )
    return tasks.embeddings
