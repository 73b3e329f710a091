"""An imported model as a folder of ours: written apart, read back, then renamed into place."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reverie.core.errors import CheckpointError
from reverie.core.files import file_digest
from reverie.models.convert.mmbench2 import Imported, TaskTable, import_release
from reverie.models.load import load_world_model, save_world_model

TOKENIZER_FILE, DYNAMICS_FILE = "tokenizer.pt", "dynamics.pt"


def import_folder(
    source: Path,
    out: Path,
    tasks: TaskTable,
    *,
    num_flow_steps: int,
    context_noise: float,
) -> Imported:
    """Turn a variant of the MMBench2 release into a model folder; all of it or nothing.

    Args:
        source: Folder with ``tokenizer.pt`` and ``dynamics.pt``.
        out: The model folder; must not exist yet.
        tasks: Names of the tasks and their instructions.
        num_flow_steps: Flow steps per dreamed frame.
        context_noise: Share of noise in frames that enter the cache.
    """
    if out.exists():
        raise CheckpointError(f"'{out}' exists already. Choose another folder, or delete it first.")
    paths = [source / TOKENIZER_FILE, source / DYNAMICS_FILE]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"'{source}' has no {' and no '.join(missing)}. Give the folder of one variant, such "
            f"as 'combined'; 'reverie model download' fetches it."
        )
    imported = import_release(
        paths[0], paths[1], tasks, num_flow_steps=num_flow_steps, context_noise=context_noise
    )
    workplace = out.with_name(f".{out.name}.importing")
    shutil.rmtree(workplace, ignore_errors=True)
    try:
        save_world_model(
            workplace,
            imported.world,
            card=_card(imported, tasks, source),
            provenance=_provenance(imported),
        )
        load_world_model(workplace)
        workplace.rename(out)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return imported


def _provenance(imported: Imported) -> dict[str, Any]:
    files = {"tokenizer": imported.tokenizer_file, "dynamics": imported.dynamics_file}
    return {
        "release": "MMBench2 (arXiv 2606.27326)",
        "files": {
            name: {
                "blake2b": file_digest(file.path),
                "facts": file.facts,
                "args": _plain(file.arguments),
            }
            for name, file in files.items()
        },
    }


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
        for name, value in arguments.items()
    }


def _card(imported: Imported, tasks: TaskTable, source: Path) -> str:
    world = imported.world
    dynamics, frame = world.net.config, world.tokenizer.frame_spec
    knows = "with their instructions"
    if tasks.embeddings is None:
        knows = "without instructions: rewards and actions are read without knowing the task"
    heads = [
        name
        for name, head in (("reward", world.reward_head), ("policy", world.policy_head))
        if head is not None
    ]
    count = sum(weights.numel() for weights in world.parameters())
    lines = [
        f"# {source.name}",
        "",
        f"A checkpoint of the MMBench2 release (arXiv 2606.27326), imported: {count:,} parameters, "
        f"frames of {frame.height_px}x{frame.width_px}.",
        "",
        f"- Training steps: tokenizer {imported.tokenizer_file.facts.get('step', 'not told')}, "
        f"dynamics {imported.dynamics_file.facts.get('step', 'not told')}.",
        f"- Heads: {' and '.join(heads) or 'none'}. Tasks: {len(tasks.names)}, {knows}.",
        f"- Context: at most {world.max_context} frames, with a share of "
        f"{1 - world.commit_signal:.3g} of noise; {dynamics.num_flow_steps} flow steps a frame.",
        "- Where the release differs from Reverie's own models, the weights are run its way; the "
        "differences are listed under `quirks` in `model.json`.",
        "- Licence of the weights: MIT, according to the release.",
    ]
    return "\n".join(lines) + "\n"
