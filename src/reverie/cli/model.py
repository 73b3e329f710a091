"""``reverie model``: what models there are, and what is in one."""

import json
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table


def list_models() -> int:
    """List the models that ship with Reverie.

    Any of the names works wherever a command takes a MODEL; so does the path of a model folder,
    such as runs/pocket/model.
    """
    from reverie.models.families import tasks_of
    from reverie.models.load import pretrained_folder, pretrained_names, read_manifest_values

    table = Table(title="Models in this package")
    for column in ("name", "kind", "tasks", "parameters", "size"):
        table.add_column(column)
    for name in pretrained_names():
        folder = pretrained_folder(name)
        values = read_manifest_values(folder)
        size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        num_parameters = sum(values["num_parameters"].values())
        tasks = str(len(tasks_of(folder)))
        table.add_row(name, values["kind"], tasks, f"{num_parameters:,}", f"{size_mb:.1f} MB")
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
    from reverie.models.families import load_any_world
    from reverie.models.load import read_manifest_values, resolve_model

    folder = resolve_model(model)
    values = read_manifest_values(folder)
    world: Any = load_any_world(folder)
    if as_json:
        print(json.dumps(values, indent=1))
        return 0
    console = Console(highlight=False)
    console.print((folder / "card.md").read_text(), markup=False)
    facts = Table(title="Configuration", show_header=False)
    frame, latent = world.tokenizer.frame_spec, world.latent_spec
    rows = {
        "folder": str(folder),
        "kind": values["kind"],
        "frames": f"{frame.height_px}x{frame.width_px} RGB",
        "latents": f"{latent.num_tokens} tokens x {latent.num_channels}",
        "context": f"{world.max_context} frames",
        "parameters": ", ".join(f"{k} {v:,}" for k, v in values["num_parameters"].items()),
        "tasks": ", ".join(world.tasks),
    }
    if values["kind"] == "shortcut":
        rows["flow steps a frame"] = str(world.num_flow_steps)
    for name, value in rows.items():
        facts.add_row(name, value)
    console.print(facts)
    if shapes:
        tensors = Table("tensor", "shape", "dtype", title="Tensors")
        for name, value in world.state_dict().items():
            tensors.add_row(name, "x".join(map(str, value.shape)) or "1", str(value.dtype)[6:])
        console.print(tensors)
    return 0


def import_model(
    source: Annotated[Path, tyro.conf.Positional],
    *,
    out: Path,
    tasks_json: Path | None = None,
    tasks: tuple[str, ...] = (),
    flow_steps: int = 8,
    context_noise: float = 0.1,
) -> int:
    """Turn released weights of MMBench2 into a model folder that every command here can use.

    The files are read without running anything in them, and compared with each other before
    anything is written.

    Example: reverie model import downloads/combined --out models/combined

    Args:
        source: Folder with tokenizer.pt and dynamics.pt of one variant.
        out: The new model folder.
        tasks_json: The release's table of tasks, for their names and instructions. Without it
            rewards are read without an instruction.
        tasks: Names of the tasks, where there is no table; by default all that Reverie knows.
        flow_steps: Flow steps per dreamed frame, a power of two.
        context_noise: Share of noise in frames that enter the cache.
    """
    from reverie.data.download import verify_listed
    from reverie.envs.registry import task_names
    from reverie.models.convert.folder import DYNAMICS_FILE, TOKENIZER_FILE, import_folder
    from reverie.models.convert.mmbench2 import TaskTable, read_task_table

    table = TaskTable(names=tasks or task_names())
    if tasks_json is not None:
        verify_listed([tasks_json])
        table = read_task_table(tasks_json)
    console = Console(highlight=False)
    with console.status(f"importing {source}"):
        verify_listed(source / name for name in (TOKENIZER_FILE, DYNAMICS_FILE))
        imported = import_folder(
            source, out, table, num_flow_steps=flow_steps, context_noise=context_noise
        )
    count = sum(weights.numel() for weights in imported.world.parameters())
    console.print(f"Imported {count:,} parameters into {out}.", soft_wrap=True)
    return 0


def download_model(
    variants: Annotated[tuple[str, ...], tyro.conf.Positional] = ("combined",),
    *,
    out: Path = Path("downloads/mmbench2-models"),
    revision: str = "main",
    repo: str = "nicklashansen/mmbench2-models",
) -> int:
    """Fetch released MMBench2 weights from the Hub, verify their checksums, and list them.

    An interrupted download goes on where it stopped. A folder holds one commit; name it with
    --revision to stay with it. HF_HUB_OFFLINE=1, HF_ENDPOINT and HF_HOME are honoured.

    Example: reverie model download combined --out downloads/mmbench2-models

    Args:
        variants: base, coverage_aware or combined; 1.4 GB each.
        out: Where the files go; 'reverie model import' turns them into a model.
        revision: Commit, tag or branch.
        repo: Repository on the Hub.
    """
    from reverie.cli.downloads import run_download
    from reverie.core.errors import UnknownNameError
    from reverie.core.registry import unknown_name_message
    from reverie.data.download import MODEL_VARIANTS, DownloadOrder, wants_model

    for name in variants:
        if name not in MODEL_VARIANTS:
            hint = f"The release has: {', '.join(MODEL_VARIANTS)}"
            raise UnknownNameError(unknown_name_message("variant", name, MODEL_VARIANTS, hint))
    order = DownloadOrder(
        repo=repo,
        kind="model",
        revision=revision,
        wants=wants_model(variants),
        what=f"variant {', '.join(variants)}",
        out=out,
    )
    folder = run_download(order)
    for name in variants:
        line = f"Next: reverie model import {folder / name} --out models/{name}"
        Console(highlight=False).print(line, soft_wrap=True)
    return 0


COMMANDS = {
    "list": list_models,
    "inspect": inspect_model,
    "import": import_model,
    "download": download_model,
}
