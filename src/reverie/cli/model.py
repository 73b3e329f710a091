"""``reverie model``: what models there are, and what is in one."""

import json
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table


def list_models() -> int:
    """List the models that ship with Reverie.

    Any of the names works wherever a command takes a MODEL; so does the path of a model folder,
    such as runs/pocket/model.
    """
    from reverie.models.load import pretrained_folder, pretrained_names, read_manifest

    table = Table(title="Models in this package")
    for column in ("name", "kind", "tasks", "parameters", "size"):
        table.add_column(column)
    for name in pretrained_names():
        folder = pretrained_folder(name)
        manifest = read_manifest(folder)
        size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        num_parameters = sum(manifest.num_parameters.values())
        tasks = str(len(manifest.dynamics.tasks))
        table.add_row(name, manifest.kind, tasks, f"{num_parameters:,}", f"{size_mb:.1f} MB")
    Console().print(table)
    return 0


def inspect_model(
    model: Annotated[str, tyro.conf.Positional],
    *,
    shapes: bool = False,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Show what a model is: family, sizes, tasks, held-out numbers, where it comes from.

    The weights are loaded and checked against their checksums on the way.

    Args:
        model: Name of a shipped model ('reverie model list') or path of a model folder.
        shapes: Also list every tensor with its shape.
        as_json: Print the manifest as JSON instead of tables.
    """
    from reverie.core.config import to_dict
    from reverie.models.load import load_world_model, read_manifest, resolve_model

    folder = resolve_model(model)
    manifest, world = read_manifest(folder), load_world_model(folder)
    if as_json:
        print(json.dumps(to_dict(manifest), indent=1))
        return 0
    console = Console(highlight=False)
    console.print((folder / "card.md").read_text(), markup=False)
    facts = Table(title="Configuration", show_header=False)
    dynamics = manifest.dynamics
    frame = world.tokenizer.frame_spec
    rows = {
        "folder": str(folder),
        "kind": manifest.kind,
        "frames": f"{frame.height_px}x{frame.width_px} RGB",
        "latents": f"{dynamics.num_latent_tokens} tokens x {dynamics.num_latent_channels}",
        "context": f"{dynamics.context} frames",
        "flow steps a frame": str(dynamics.num_flow_steps),
        "parameters": ", ".join(f"{k} {v:,}" for k, v in manifest.num_parameters.items()),
        "tasks": ", ".join(dynamics.tasks),
    }
    for name, value in rows.items():
        facts.add_row(name, value)
    console.print(facts)
    if shapes:
        tensors = Table("tensor", "shape", "dtype", title="Tensors")
        for name, value in world.state_dict().items():
            tensors.add_row(name, "x".join(map(str, value.shape)) or "1", str(value.dtype)[6:])
        console.print(tensors)
    return 0


COMMANDS = {"list": list_models, "inspect": inspect_model}
