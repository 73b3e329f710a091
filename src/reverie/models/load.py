"""The one door from disk: a model folder in, a world model out. Nothing is ever unpickled.

A folder holds ``model.json`` (kind, configs, checksums, metrics), one safetensors file per part
and a model card. ``model.json`` is written last: what it lists is whole.
"""

import json
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reverie.core.config import from_dict, to_dict
from reverie.core.errors import CheckpointError
from reverie.core.files import (
    atomic_path,
    digest,
    file_digest,
    read_sealed,
    write_bytes,
    write_sealed,
)
from reverie.core.registry import unknown_name_message
from reverie.models.dynamics.heads import ContinueHead, HeadsConfig, PolicyHead, RewardHead
from reverie.models.dynamics.net import DynamicsConfig, DynamicsNet
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.tokenizer import TOKENIZERS

FORMAT_VERSION = 1
CUDA_GRAPHS = "REVERIE_CUDA_GRAPHS"
"""Environment variable; new, and so asked for."""
MANIFEST = "model.json"
CARD = "card.md"
PARTS = ("tokenizer", "dynamics")
StoredPrecision = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelManifest:
    """What ``model.json`` says."""

    format_version: int
    kind: str
    """The family; ``"shortcut"`` is the Dreamer-4-style one."""
    tokenizer_name: str
    tokenizer: dict[str, Any]
    dynamics: DynamicsConfig
    heads: HeadsConfig
    checksums: dict[str, str]
    """BLAKE2b of each weights file."""
    num_parameters: dict[str, int]
    metrics: dict[str, Any] = field(default_factory=dict)
    """Held-out numbers measured when the model was exported."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Data, seeds and commands that made the model."""


def save_world_model(
    folder: Path,
    world: ShortcutWorld,
    *,
    card: str = "",
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    precision: StoredPrecision = "float32",
) -> ModelManifest:
    """Write a world model as a folder that ``load_world_model`` reads.

    Args:
        folder: Where; files of an older model there are replaced, the manifest last.
        world: The model, with the weights to keep (averaged ones).
        card: The model card, Markdown.
        metrics: Held-out numbers.
        provenance: Data, seeds, commands.
        precision: Of the parameters on disk; ``float16`` halves the files and rounds the world's
            own parameters too, so that what is measured afterwards is what was written.

    Raises:
        CheckpointError: The tokenizer is of a kind that could not be read back.
    """
    if precision == "float16":
        _round_parameters(world)
    parts = {"tokenizer": _tokenizer_module(world), "dynamics": _dynamics_module(world)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name, module in parts.items():
        halved = set(dict(module.named_parameters())) if precision == "float16" else set()
        tensors = {
            key: (value.half() if key in halved else value).detach().cpu().contiguous()
            for key, value in module.state_dict().items()
        }
        with atomic_path(folder / f"{name}.safetensors") as temporary:
            save_file(tensors, temporary)
    write_bytes(folder / CARD, card.encode())
    manifest = ModelManifest(
        format_version=FORMAT_VERSION,
        kind="shortcut",
        tokenizer_name=_tokenizer_name(parts["tokenizer"]),
        tokenizer=to_dict(parts["tokenizer"].config),
        dynamics=world.net.config,
        heads=world.heads,
        checksums={name: file_digest(folder / f"{name}.safetensors") for name in PARTS},
        num_parameters={
            name: sum(item.numel() for item in module.parameters())
            for name, module in parts.items()
        },
        metrics=dict(metrics or {}),
        provenance=dict(provenance or {}),
    )
    write_sealed(folder / MANIFEST, to_dict(manifest))
    return manifest


def load_world_model(folder: Path, *, device: torch.device | str = "cpu") -> ShortcutWorld:
    """Read a model folder; the weights are checked against their checksums and shapes.

    On a GPU, ``REVERIE_CUDA_GRAPHS=1`` makes it replay its forwards (``ShortcutWorld.record``).

    Raises:
        CheckpointError: The folder is missing, incomplete, damaged or of another kind.
    """
    manifest = read_manifest(folder)
    tokenizer = make_tokenizer(manifest.tokenizer_name, manifest.tokenizer)
    world = make_world(tokenizer, manifest.dynamics, manifest.heads)
    for name, module in (("tokenizer", tokenizer), ("dynamics", _dynamics_module(world))):
        _load_part(folder, name, manifest.checksums, module)
    world = world.to(device).eval().requires_grad_(False)
    if os.environ.get(CUDA_GRAPHS) and world.device.type != "cpu":
        world.record()
    return world


def make_world(tokenizer: nn.Module, dynamics: DynamicsConfig, heads: HeadsConfig) -> ShortcutWorld:
    """Build an untrained world around a tokenizer."""
    width = dynamics.stack.width
    return ShortcutWorld(
        tokenizer,
        DynamicsNet(dynamics),
        RewardHead(width, heads) if heads.has_reward else None,
        ContinueHead(width, heads) if heads.has_continue else None,
        PolicyHead(width, heads, dynamics.action_width) if heads.num_policy_distances else None,
    )


def read_manifest(folder: Path) -> ModelManifest:
    """Read and check ``model.json``.

    Raises:
        CheckpointError: It is missing or cannot be read.
    """
    path, values = folder / MANIFEST, read_manifest_values(folder)
    if values.get("kind") != "shortcut":
        raise CheckpointError(
            f"'{path}' is a model of kind {values.get('kind')!r}; this command knows 'shortcut'."
        )
    try:
        return from_dict(ModelManifest, values)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"'{path}' cannot be used: {error}") from error


def read_manifest_values(folder: Path) -> dict[str, Any]:
    """Read ``model.json`` of a model of any kind, as plain values.

    Raises:
        CheckpointError: It is missing, no JSON, or of another version.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise CheckpointError(
            f"'{folder}' is not a model folder: it has no {MANIFEST}. A training run leaves one "
            f"in runs/<name>/model; 'reverie model list' shows the models that ship with Reverie."
        )
    try:
        values = read_sealed(path)
    except ValueError as error:
        raise CheckpointError(
            f"'{path}' cannot be read ({error}). Export the model again."
        ) from error
    found = values.get("format_version") if isinstance(values, dict) else None
    if found != FORMAT_VERSION:
        raise CheckpointError(
            f"'{path}' has format version {found!r}; this Reverie reads version {FORMAT_VERSION}. "
            f"Use the Reverie that wrote it, or export the model again."
        )
    return values


def model_digest(folder: Path) -> str:
    """Return a digest of a model's weights and configs, of any family.

    Its card, its metrics and where it came from do not count: what was fitted for the model stays
    fitted for it.

    Raises:
        CheckpointError: The folder holds no model.
    """
    values = read_manifest_values(folder)
    if values.get("kind") == "shortcut":
        read_manifest(folder)
        names: Iterable[str] = ("checksums", "tokenizer", "dynamics", "heads")
    else:
        names = values.keys() - {"metrics", "provenance"}
    return digest(json.dumps({name: values[name] for name in names}, sort_keys=True).encode())


def make_tokenizer(name: str, config: dict[str, Any]) -> nn.Module:
    """Build an untrained tokenizer by its registered name from a plain config."""
    kind = TOKENIZERS.load(name)
    config_type = typing.get_type_hints(kind.__init__)["config"]
    return kind(from_dict(config_type, config))


def pretrained_names() -> tuple[str, ...]:
    """Return the names of the models that ship inside the package."""
    home = Path(__file__).parent / "pretrained"
    return tuple(sorted(path.parent.name for path in home.glob(f"*/{MANIFEST}")))


def pretrained_folder(name: str) -> Path:
    """Return the folder of a model that ships inside the package.

    Raises:
        CheckpointError: There is none of that name.
    """
    names = pretrained_names()
    if name not in names:
        hint = f"Models in this package: {', '.join(names) or 'none'}; or give the path of a folder"
        raise CheckpointError(unknown_name_message("model", name, names, hint))
    return Path(__file__).parent / "pretrained" / name


def resolve_model(name_or_path: str) -> Path:
    """Return the folder meant by a path or by the name of a shipped model."""
    path = Path(name_or_path)
    if path.exists() or "/" in name_or_path or path.is_absolute():
        read_manifest_values(path)
        return path
    return pretrained_folder(name_or_path)


def weights_hash(module: nn.Module) -> str:
    """Return a checksum of a module's weights: names, dtypes, shapes and bytes."""
    pieces: list[bytes] = []
    for name, value in sorted(module.state_dict().items()):
        tensor: Tensor = value.detach().cpu().contiguous()
        pieces.append(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        pieces.append(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest(b"\0".join(pieces))


@torch.no_grad()
def _round_parameters(module: nn.Module) -> None:
    for value in module.parameters():
        value.copy_(value.half())


def _load_part(folder: Path, name: str, checksums: Mapping[str, str], module: nn.Module) -> None:
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise CheckpointError(f"'{path}' is missing. Copy the whole model folder again.")
    if file_digest(path) != checksums.get(name):
        raise CheckpointError(
            f"'{path}' is damaged: its checksum is not the one in {MANIFEST}. Copy it again."
        )
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"'{path}' is not a safetensors file: {error}.") from error
    wanted = module.state_dict()
    different = sorted(
        name
        for name in wanted.keys() | tensors.keys()
        if name not in wanted or name not in tensors or wanted[name].shape != tensors[name].shape
    )
    if different:
        raise CheckpointError(
            f"'{path}' does not fit its config: {len(different)} tensors differ, first "
            f"'{different[0]}'. The folder mixes two models; export it again."
        )
    module.load_state_dict(tensors)


def _tokenizer_name(tokenizer: nn.Module) -> str:
    kind = type(tokenizer)
    target = f"{kind.__module__}:{kind.__qualname__}"
    for name in TOKENIZERS:
        if TOKENIZERS.target(name) == target:
            return name
    raise CheckpointError(
        f"A model folder holds tokenizers of these kinds: {', '.join(TOKENIZERS)}; got a "
        f"{kind.__name__}. Train one of them to save the model."
    )


def _tokenizer_module(world: ShortcutWorld) -> Any:
    return world.tokenizer


def _dynamics_module(world: ShortcutWorld) -> nn.Module:
    parts = {
        "net": world.net,
        "reward_head": world.reward_head,
        "continue_head": world.continue_head,
        "policy_head": world.policy_head,
    }
    return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
