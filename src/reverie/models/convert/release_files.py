"""The two files of a release variant, opened and sorted; no name is trusted, no code is run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reverie.core.errors import CheckpointError
from reverie.core.tensors import load_tensors

State = dict[str, Tensor]

_DYNAMICS_NAMES = ("dynamics", "dyn_model", "dyn", "model", "state_dict")
_TOKENIZER_NAMES = ("model", "tokenizer", "state_dict")
_WRAPPERS = ("_orig_mod.", "module.")
_DYNAMICS_PREFIXES = (*_WRAPPERS, "dynamics.", "dyn.")
_REWARD_NAMES = ("rew_head", "reward_head")
_POLICY_NAMES = ("policy_head", "bc_head")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseFile:
    """What one file holds."""

    path: Path
    state: State
    """Tokenizer or dynamics, prefixes stripped."""
    reward: State | None = None
    policy: State | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    """The command line that trained it, if the file has it."""
    facts: dict[str, int | float] = field(default_factory=dict)
    """Step, epoch and running sizes of the losses."""

    def shape(self, key: str, *, rank: int | None = None) -> tuple[int, ...]:
        """Return the shape of a tensor; a missing one is an error with its name."""
        if key not in self.state:
            raise CheckpointError(
                f"'{self.path}' has no tensor '{key}': it is not a checkpoint of the release. "
                f"Its first tensors are {', '.join(sorted(self.state)[:3]) or 'none'}."
            )
        shape = tuple(self.state[key].shape)
        if (rank is not None and len(shape) != rank) or 0 in shape:
            raise CheckpointError(
                f"'{self.path}': '{key}' has shape {shape}, expected {rank or 'some'} axes, none "
                f"of them empty. Download the file again."
            )
        return shape


def read_tokenizer_file(path: Path) -> ReleaseFile:
    """Open ``tokenizer.pt``."""
    content = _read(path)
    state = _state(content, _TOKENIZER_NAMES, path, _WRAPPERS)
    return ReleaseFile(
        path=path, state=state, arguments=_arguments(content, path), facts=_facts(content)
    )


def read_dynamics_file(path: Path) -> ReleaseFile:
    """Open ``dynamics.pt``; heads may lie beside the dynamics, or in one dictionary with it."""
    content = _read(path)
    whole = _state(content, _DYNAMICS_NAMES, path, _WRAPPERS)
    heads: dict[str, State | None] = {}
    for names in (_REWARD_NAMES, _POLICY_NAMES):
        prefixes = tuple(f"{name}." for name in names)
        mixed = {key: whole.pop(key) for key in list(whole) if key.startswith(prefixes)}
        apart = next((content[name] for name in names if content.get(name) is not None), None)
        head = mixed if apart is None else _tensors(apart, path)
        heads[names[0]] = _stripped(head, (*_WRAPPERS, *prefixes), path) if head else None
    return ReleaseFile(
        path=path,
        state=_stripped(whole, _DYNAMICS_PREFIXES, path),
        reward=heads["rew_head"],
        policy=heads["policy_head"],
        arguments=_arguments(content, path),
        facts=_facts(content),
    )


def layer_indices(state: State, prefix: str) -> list[int]:
    """Return the indices of the layers below ``prefix``, sorted."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d{1,6})\.")
    return sorted({int(found.group(1)) for key in state if (found := pattern.match(key))})


def _read(path: Path) -> dict[str, Any]:
    content = load_tensors(path, error=CheckpointError)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(
            f"'{path}' holds a {type(content).__name__}, expected a dictionary with names. It is "
            f"not a checkpoint of the release."
        )
    return content


def _state(
    content: Mapping[str, Any], names: tuple[str, ...], path: Path, prefixes: tuple[str, ...]
) -> State:
    for name in names:
        if isinstance(content.get(name), dict):
            return _stripped(_tensors(content[name], path), prefixes, path)
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return _stripped(_tensors(content, path), prefixes, path)
    raise CheckpointError(
        f"'{path}' has none of {', '.join(names)} at its top, only "
        f"{', '.join(sorted(content)[:8]) or 'nothing'}. It is not a checkpoint of the release."
    )


def _tensors(values: Any, path: Path) -> State:
    if not isinstance(values, dict):
        raise CheckpointError(
            f"'{path}' has a {type(values).__name__} where named tensors are expected."
        )
    for key, value in values.items():
        is_plain = isinstance(value, Tensor) and value.layout == torch.strided
        if not (isinstance(key, str) and is_plain and value.device.type == "cpu"):
            raise CheckpointError(f"'{path}': '{key}' is not a plain tensor with a name.")
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f"'{path}': '{key}' holds {value.dtype} or numbers that are not finite; expected "
                f"finite floats. Download the file again."
            )
    return dict(values)


def _stripped(state: State, prefixes: tuple[str, ...], path: Path) -> State:
    bare: State = {}
    for key, value in state.items():
        name = key
        while (prefix := next((x for x in prefixes if name.startswith(x)), None)) is not None:
            name = name[len(prefix) :]
        if name in bare:
            raise CheckpointError(f"'{path}' has '{name}' twice, under different prefixes.")
        bare[name] = value
    return bare


def _arguments(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    arguments = content.get("args")
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise CheckpointError(f"'{path}': args is a {type(arguments).__name__}, not a dictionary.")
    return {str(key): value for key, value in arguments.items()}


def _facts(content: Mapping[str, Any]) -> dict[str, int | float]:
    facts: dict[str, int | float] = {
        name: content[name] for name in ("step", "epoch") if isinstance(content.get(name), int)
    }
    sizes = content.get("rms_state")
    if isinstance(sizes, dict):
        for name, entry in sizes.items():
            mean = entry.get("sq_ema") if isinstance(entry, dict) else None
            if isinstance(mean, Tensor) and mean.numel() == 1:
                facts[f"rms_{name}"] = float(mean)
    return facts
