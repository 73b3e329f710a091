"""Downloads come from the Hub's routes whole, at one commit, or not at all."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.hf_api
import pytest

from reverie.cli.main import main
from reverie.core.errors import DataError
from reverie.data.download import (
    MANIFEST,
    DownloadOrder,
    download,
    verify_listed,
    wants_data,
    wants_model,
)
from tests.support.hub_server import COMMIT, Hub, serving
from tests.support.release import TINY

REPO = "someone/things"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    root = tmp_path / "remote"
    for partition in ("expert", "zeros"):
        for task in ("walker-run", "walker-run-far"):
            for name in (f"{task}.pt", f"{task}-0.png", f"{task}-1.png"):
                path = root / partition / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{partition}/{name} ".encode() * 20_000)
    (root / "README.md").write_text("hello")
    with serving(Hub(root=root, repo=REPO, kind="dataset")) as running:
        yield running


def order(hub: Hub, out: Path, *, tasks: tuple[str, ...] = (), revision: str = "main") -> Any:
    return DownloadOrder(
        repo=REPO,
        kind="dataset",
        revision=revision,
        wants=wants_data(("expert",), tasks),
        what="partition expert",
        out=out,
        endpoint=hub.endpoint,
    )


def present(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_a_partition_arrives_whole_with_its_list_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    got = download(order(hub, tmp_path / "out"))
    files = present(tmp_path / "out")
    listed = json.loads(files.pop(MANIFEST))
    wanted = {x for x in hub.files() if x.startswith("expert/")} | {"README.md"}
    assert set(files) == set(listed["files"]) == set(got.files) == wanted
    assert all((hub.root / name).read_bytes() == content for name, content in files.items())
    assert listed["commit"] == got.commit == COMMIT
    verify_listed((tmp_path / "out" / "expert").iterdir())


def test_a_single_task_is_told_from_one_whose_name_begins_alike(hub: Hub, tmp_path: Path) -> None:
    got = download(order(hub, tmp_path / "out", tasks=("walker-run",)))
    names = {"walker-run.pt", "walker-run-0.png", "walker-run-1.png"}
    assert set(got.files) == {f"expert/{name}" for name in names} | {"README.md"}


def test_variants_of_a_model_are_two_files_each() -> None:
    wants = wants_model(["base"])
    names = ["base/tokenizer.pt", "base/dynamics.pt", "base/x.pt", "combined/dynamics.pt", "a.json"]
    assert [name for name in names if wants(name)] == [names[0], names[1], names[4]]


def test_the_same_command_fetches_nothing_twice_and_mends_what_is_damaged(
    hub: Hub, tmp_path: Path
) -> None:
    download(order(hub, tmp_path / "out"))
    count = len(hub.gets)
    download(order(hub, tmp_path / "out"))
    assert len(hub.gets) == count
    path = tmp_path / "out" / "expert" / "walker-run-0.png"
    content = path.read_bytes()
    path.write_bytes(b"x" + content[1:])
    with pytest.raises(DataError, match=r"walker-run-0\.png' is missing or damaged"):
        verify_listed((tmp_path / "out" / "expert").iterdir())
    download(order(hub, tmp_path / "out"))
    assert path.read_bytes() == content
    assert [name for name, _ in hub.gets[count:]] == ["expert/walker-run-0.png"]


def test_a_transfer_that_broke_off_goes_on_where_it_stopped(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    name = "expert/walker-run.pt"
    hub.cut_once[name] = 100_000
    download(order(hub, tmp_path / "out"))
    ranges = [asked for got, asked in hub.gets if got == name]
    assert ranges[0] is None and ranges[-1] is not None
    assert (tmp_path / "out" / name).read_bytes() == (hub.root / name).read_bytes()


def test_a_file_that_changes_on_the_way_is_an_error_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    name = "expert/walker-run-far-1.png"
    hub.spoilt.add(name)
    with pytest.raises(DataError, match=f"'{name}' arrived twice with another checksum"):
        download(order(hub, tmp_path / "out"))
    assert not (tmp_path / "out" / name).exists()
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_a_folder_holds_one_commit(hub: Hub, tmp_path: Path) -> None:
    download(order(hub, tmp_path / "out", tasks=("walker-run",)))
    hub.commit = "b" * 40
    with pytest.raises(DataError, match=f"Give --revision {COMMIT} to stay"):
        download(order(hub, tmp_path / "out"))


def test_names_that_the_hub_does_not_know_are_an_error(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="refuses 'someone/things' at revision 'nope'"):
        download(order(hub, tmp_path / "out", revision="nope"))
    with pytest.raises(DataError, match="refuses 'someone/other'"):
        download(replace(order(hub, tmp_path / "out"), repo="someone/other"))
    with pytest.raises(DataError, match=r"has no task x\. It has expert, zeros"):
        asked = replace(order(hub, tmp_path / "out"), wants=wants_data((), ("x",)), what="task x")
        download(asked)
    assert not (tmp_path / "out").exists()


def test_without_a_connection_an_earlier_download_or_the_cache_serves(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = order(hub, tmp_path / "out", tasks=("walker-run",))
    online = download(asked)
    cached = replace(asked, out=tmp_path / "elsewhere")
    huggingface_hub.snapshot_download(
        REPO, repo_type="dataset", revision=COMMIT, endpoint=hub.endpoint,
        cache_dir=tmp_path / "cache",
    )  # fmt: skip
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    count = len(hub.gets)
    offline = download(asked)
    assert offline.is_offline and offline.folder == asked.out
    assert set(offline.files) == set(online.files) - {"README.md"}
    found = download(replace(cached, revision=COMMIT))
    assert found.is_offline and found.folder.name == COMMIT and len(hub.gets) == count
    with pytest.raises(DataError, match="no partition expert .* HF_HUB_OFFLINE is set"):
        download(replace(cached, repo="someone/other"))


def test_an_unreachable_hub_is_named_unless_the_files_are_here(hub: Hub, tmp_path: Path) -> None:
    asked = order(hub, tmp_path / "out", tasks=("walker-run",))
    download(asked)
    gone = replace(asked, endpoint="http://127.0.0.1:9")
    assert download(gone).is_offline
    with pytest.raises(DataError, match="the Hub cannot be reached"):
        download(replace(gone, out=tmp_path / "other"))


def test_the_commands_say_what_they_fetched_and_what_comes_next(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.endpoint)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    words = ["data", "download", "--out", str(tmp_path / "out"), "--repo", REPO]
    assert main([*words, "--partitions", "zeros", "--tasks", "walker-run"]) == 0
    shown = capsys.readouterr().out
    assert "4 files" in shown and "verified" in shown and "Next: reverie data import" in shown
    assert main(words) == 2
    assert "The whole data set is 114 GB" in capsys.readouterr().err
    assert main(["model", "download", "combind"]) == 2
    assert "Did you mean 'combined'?" in capsys.readouterr().err


def test_a_model_variant_is_fetched_and_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = tmp_path / "remote" / "combined"
    remote.mkdir(parents=True)
    for name in ("tokenizer.pt", "dynamics.pt"):
        shutil.copy(TINY / name, remote / name)
    with serving(Hub(root=remote.parent, repo=REPO, kind="model")) as running:
        asked = DownloadOrder(
            repo=REPO,
            kind="model",
            revision="main",
            wants=wants_model(["combined"]),
            what="variant combined",
            out=tmp_path / "out",
            endpoint=running.endpoint,
        )
        download(asked)
    words = ["model", "import", str(tmp_path / "out" / "combined"), "--tasks", "a", "--out"]
    assert main([*words, str(tmp_path / "model")]) == 0
    path = tmp_path / "out" / "combined" / "dynamics.pt"
    path.write_bytes(path.read_bytes() + b"\0")
    assert main([*words, str(tmp_path / "again")]) == 2
    assert "dynamics.pt' is missing or damaged" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
