"""Classic dreams and their controllers as model folders; nothing is ever unpickled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from reverie.core.config import from_dict, to_dict
from reverie.core.errors import CheckpointError, ConfigError
from reverie.core.files import atomic_path, file_digest, write_bytes, write_sealed
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.mdn_rnn import MdnRnn, MdnRnnConfig
from reverie.models.classic.vae import Vae, VaeConfig
from reverie.models.classic.world import ClassicConfig, ClassicWorld

KIND = "classic"
FORMAT_VERSION = 1
_MANIFEST, _CARD, _CONTROLLER = "model.json", "card.md", "controller"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassicManifest:
    """What ``model.json`` of a classic dream says."""

    format_version: int
    kind: str
    vae: VaeConfig
    rnn: MdnRnnConfig
    dream: ClassicConfig
    controller: ControllerConfig | None
    checksums: dict[str, str]
    """BLAKE2b of each weights file. V's is among them: M and C mean nothing beside another V."""
    num_parameters: dict[str, int]
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def save_classic_world(
    folder: Path,
    world: ClassicWorld,
    *,
    controller: ControllerConfig | None = None,
    parameters: Float[Tensor, " p"] | None = None,
    card: str = "",
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> ClassicManifest:
    """Write a dream, and its controller if there is one; the manifest comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MANIFEST).unlink(missing_ok=True)
    parts: dict[str, dict[str, Tensor]] = {
        "vae": dict(world.vae.state_dict()),
        "rnn": dict(world.rnn.state_dict()),
    }
    if controller is not None and parameters is not None:
        parts[_CONTROLLER] = {"parameters": parameters}
    for name, tensors in parts.items():
        with atomic_path(folder / f"{name}.safetensors") as temporary:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary)
    write_bytes(folder / _CARD, card.encode())
    manifest = ClassicManifest(
        format_version=FORMAT_VERSION,
        kind=KIND,
        vae=world.vae.config,
        rnn=world.rnn.config,
        dream=world.config,
        controller=controller,
        checksums={name: file_digest(folder / f"{name}.safetensors") for name in parts},
        num_parameters={
            name: sum(value.numel() for value in tensors.values())
            for name, tensors in parts.items()
        },
        metrics=dict(metrics or {}),
        provenance=dict(provenance or {}),
    )
    write_sealed(folder / _MANIFEST, to_dict(manifest))
    return manifest


def load_classic_world(
    folder: Path, values: Mapping[str, Any], *, device: torch.device | str = "cpu"
) -> ClassicWorld:
    """Read V and M of a model folder, checked against checksums and shapes.

    Args:
        folder: The model folder.
        values: Its parsed ``model.json``.
        device: Where the model goes.

    Raises:
        CheckpointError: A part is missing, damaged, or belongs to another model.
    """
    manifest = to_manifest(folder, values)
    vae, rnn = Vae(manifest.vae), MdnRnn(manifest.rnn)
    for name, module in (("vae", vae), ("rnn", rnn)):
        tensors = _read(folder, name, manifest)
        wanted = module.state_dict()
        if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in wanted.items()}:
            raise CheckpointError(
                f"'{folder / name}.safetensors' does not fit its config. The folder mixes two "
                f"models; export it again."
            )
        module.load_state_dict(tensors)
    world = ClassicWorld(vae, rnn, manifest.dream)
    return world.to(device).eval().requires_grad_(False)


def load_controller(
    folder: Path, values: Mapping[str, Any]
) -> tuple[ControllerConfig, Float[Tensor, " p"]]:
    """Read the controller of a model folder.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    manifest = to_manifest(folder, values)
    if manifest.controller is None:
        raise CheckpointError(
            f"'{folder}' holds a dream without a controller. Train one with a recipe such as "
            f"'reverie train cartpole-dream'."
        )
    parameters = _read(folder, _CONTROLLER, manifest)["parameters"]
    if parameters.shape != (manifest.controller.num_parameters,):
        raise CheckpointError(
            f"The controller in '{folder}' has {tuple(parameters.shape)} weights, its config "
            f"{manifest.controller.num_parameters}. The folder mixes two models."
        )
    return manifest.controller, parameters


def to_manifest(folder: Path, values: Mapping[str, Any]) -> ClassicManifest:
    """Check what ``model.json`` says.

    Raises:
        CheckpointError: It is of another version or damaged.
    """
    try:
        return from_dict(ClassicManifest, dict(values))
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"'{folder / _MANIFEST}' cannot be used: {error}") from error


def _read(folder: Path, name: str, manifest: ClassicManifest) -> dict[str, Tensor]:
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise CheckpointError(f"'{path}' is missing. Copy the whole model folder again.")
    if file_digest(path) != manifest.checksums.get(name):
        raise CheckpointError(
            f"'{path}' is damaged or of another model: its checksum is not the one in "
            f"{_MANIFEST}. Copy it again."
        )
    return load_file(path)
