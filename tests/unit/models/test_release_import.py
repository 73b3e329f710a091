"""Released files become model folders, whole or not at all."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reverie.cli.main import main
from reverie.core.config import from_dict, to_dict
from reverie.core.errors import CheckpointError
from reverie.models.convert.folder import import_folder
from reverie.models.convert.mmbench2 import TaskTable, import_release, read_task_table
from reverie.models.load import load_world_model, read_manifest
from reverie.nn.quirks import MMBENCH2, Quirks
from tests.support.release import TASK, TINY, imported

Content = dict[str, Any]
Change = Callable[[Content], Content]


def read(name: str) -> Content:
    return torch.load(TINY / name, weights_only=True)


def with_files(folder: Path, **changes: Change) -> Path:
    """A copy of the tiny release with changed files."""
    folder.mkdir(exist_ok=True)
    for name in ("tokenizer", "dynamics"):
        content = read(f"{name}.pt")
        torch.save(changes.get(name, lambda x: x)(content), folder / f"{name}.pt")
    return folder


def open_world(folder: Path) -> Any:
    return imported(folder=folder)


def weights(world: Any) -> dict[str, Tensor]:
    return dict(world.state_dict())


def convert(folder: Path, out: Path) -> None:
    import_folder(folder, out, TaskTable(names=(TASK,)), num_flow_steps=8, context_noise=0.1)


def test_the_folder_holds_the_same_model_and_says_where_it_is_from(tmp_path: Path) -> None:
    convert(TINY, tmp_path / "combined")
    world = load_world_model(tmp_path / "combined")
    for name, value in weights(imported()).items():
        assert torch.equal(value, world.state_dict()[name])
    manifest = read_manifest(tmp_path / "combined")
    assert manifest.dynamics.stack.quirks == MMBENCH2
    assert manifest.dynamics.context == 24 and world.max_context == 23
    assert manifest.provenance["files"]["dynamics"]["args"]["task_weighting"] == "targeted"
    assert "MMBench2" in (tmp_path / "combined" / "card.md").read_text()


@pytest.mark.parametrize("top", ["dynamics", "dyn_model", "dyn", "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module._orig_mod.", "dynamics.", "dyn."])
def test_any_known_name_and_prefix_of_the_dynamics_gives_the_same_weights(
    tmp_path: Path, top: str, prefix: str
) -> None:
    def rename(content: Content) -> Content:
        state = content.pop("dynamics")
        return content | {top: {f"{prefix}{key}": value for key, value in state.items()}}

    world = open_world(with_files(tmp_path, dynamics=rename))
    for name, value in weights(imported()).items():
        assert torch.equal(value, world.state_dict()[name])


def test_heads_may_lie_in_one_dictionary_with_the_dynamics(tmp_path: Path) -> None:
    def join(content: Content) -> Content:
        state = {f"module.dynamics.{key}": value for key, value in content["dynamics"].items()}
        for old, new in (("rew_head", "reward_head"), ("policy_head", "bc_head")):
            state |= {f"module.{new}.{key}": x for key, x in content[old].items()}
        return {"state_dict": state, "args": content["args"]}

    world = open_world(with_files(tmp_path, dynamics=join))
    for name, value in weights(imported()).items():
        assert torch.equal(value, world.state_dict()[name])


def test_quirks_survive_a_file() -> None:
    assert from_dict(Quirks, to_dict(MMBENCH2)) == MMBENCH2


def test_without_args_the_shapes_say_all_but_the_frame_size(tmp_path: Path) -> None:
    def forget(content: Content) -> Content:
        return {key: value for key, value in content.items() if key != "args"}

    assert_close(weights(open_world(with_files(tmp_path, dynamics=forget))), weights(imported()))
    with pytest.raises(CheckpointError, match="'decoder.patch_queries' .*a square number of rows"):
        open_world(with_files(tmp_path, tokenizer=forget))


ARGUMENTS = {
    "tokenizer": {"patch": 8, "d_model": 64, "n_heads": 4, "depth": 2, "n_latents": 16, "H": 35,
                  "d_bottleneck": 6, "mlp_ratio": 2.0, "time_every": 2, "seq_len": "24"},
    "dynamics": {"d_model_dyn": 64, "dyn_depth": 5, "n_heads": 4, "packing_factor": 1,
                 "n_register": 4, "n_agent": 4, "k_max": 8, "lang_dim": 512, "reward_L": 8,
                 "reward_num_bins": 255, "reward_log_low": -10.0, "bc_L": 8, "bc_act_dim": 8,
                 "reward_pool_agent": "mean", "mlp_ratio": 2.0, "time_every": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [(file, *item) for file, items in ARGUMENTS.items() for item in items.items()],
)
def test_args_that_disagree_with_the_shapes_are_an_error_with_both(
    tmp_path: Path, file: str, name: str, value: object
) -> None:
    def change(content: Content) -> Content:
        content["args"][name] = value
        return content

    text = "H and W" if name == "H" else name
    with pytest.raises(CheckpointError, match=f"its args say {text} = .* its tensors say"):
        open_world(with_files(tmp_path, **{file: change}))


KEYS = [
    ("tokenizer", "model", "encoder.transformer.layers.1.mlp.fc_in.weight"),
    ("tokenizer", "model", "decoder.patch_head.bias"),
    ("dynamics", "dynamics", "transformer.layers.3.time.attn.qkv.bias"),
    ("dynamics", "dynamics", "step_embed.weight"),
    ("dynamics", "rew_head", "pool_kv.weight"),
    ("dynamics", "policy_head", "projector.fc_out.bias"),
]


@pytest.mark.parametrize(("file", "part", "key"), KEYS)
@pytest.mark.parametrize("harm", ["longer", "missing", "renamed"])
def test_a_tensor_of_another_shape_or_name_is_an_error_with_its_name(
    tmp_path: Path, file: str, part: str, key: str, harm: str
) -> None:
    def change(content: Content) -> Content:
        value = content[part].pop(key)
        if harm == "longer":
            content[part][key] = torch.cat([value, value[:1]])
        if harm == "renamed":
            content[part][f"{key}_"] = value
        return content

    with pytest.raises(CheckpointError, match=re.escape(key)):
        open_world(with_files(tmp_path, **{file: change}))


def test_numbers_that_are_not_finite_are_refused_with_their_tensor(tmp_path: Path) -> None:
    def poison(content: Content) -> Content:
        content["dynamics"]["flow_x_head.bias"][2] = float("nan")
        return content

    with pytest.raises(CheckpointError, match="'flow_x_head.bias' holds .* not finite"):
        open_world(with_files(tmp_path, dynamics=poison))


def test_files_of_two_variants_are_refused(tmp_path: Path) -> None:
    def widen(content: Content) -> Content:
        state = content["dynamics"]
        state["spatial_proj.weight"] = torch.randn(40, 12)
        return content

    with pytest.raises(CheckpointError, match="the files are of two variants"):
        open_world(with_files(tmp_path, dynamics=widen))


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.mkdir, (str(self.mark),))


def test_a_file_that_wants_to_run_code_is_refused_by_name_and_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"

    def poison(content: Content) -> Content:
        return content | {"step": Evil(mark)}

    folder = with_files(tmp_path / "files", dynamics=poison)
    with pytest.raises(CheckpointError, match="wants to run 'posix.mkdir'.*Nothing was run"):
        convert(folder, tmp_path / "out")
    assert not mark.exists() and not (tmp_path / "out").exists()


def test_a_failed_import_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = with_files(tmp_path / "files", dynamics=lambda x: {"step": 3})
    with pytest.raises(CheckpointError, match="has none of dynamics"):
        convert(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]


def test_an_existing_folder_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="exists already"):
        convert(TINY, tmp_path)
    with pytest.raises(CheckpointError, match="has no tokenizer.pt and no dynamics.pt"):
        convert(tmp_path, tmp_path / "out")


def test_the_label_of_a_clean_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="never trained"):
        imported(context_noise=0.0)


def test_task_tables_carry_names_and_instructions(tmp_path: Path) -> None:
    table = read_task_table(TINY / "tasks.json")
    assert table.names == (TASK,) and table.embeddings is not None
    assert table.embeddings.shape == (1, 512)
    with pytest.raises(CheckpointError, match="embeddings of 512 numbers, the model reads 20"):
        import_release(TINY / "tokenizer.pt", TINY / "dynamics.pt", table)
    instructed = TaskTable(names=("a", TASK), embeddings=torch.randn(2, 20))
    world = import_release(TINY / "tokenizer.pt", TINY / "dynamics.pt", instructed).world
    told = world.net.language_of((TASK, "new"), None, world.device)
    assert instructed.embeddings is not None
    assert torch.equal(told[0], instructed.embeddings[1]) and not told[1].any()
    for text in ("[]", "{", '{"a": {}}', '{"a": {"text_embedding": [1, "x"]}}'):
        (tmp_path / "tasks.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"tasks\.json"):
            read_task_table(tmp_path / "tasks.json")


def test_the_command_imports_and_inspect_shows_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "combined"
    assert main(["model", "import", str(TINY), "--out", str(out), "--tasks", TASK]) == 0
    assert "Imported 393,698 parameters" in capsys.readouterr().out
    assert main(["model", "inspect", str(out), "--shapes"]) == 0
    shown = capsys.readouterr().out
    assert "28x42 RGB" in shown and "net.task_embeddings" in shown and "MMBench2" in shown
    assert main(["model", "import", str(TINY), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
