"""Files from the Hub: pinned to a commit, resumable, every checksum verified, listed last.

``huggingface_hub`` moves the bytes (and honours its own environment variables, tokens and cache);
what it leaves out is here: that one folder holds one commit, and that what arrived is what the Hub
said it would be.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from reverie.core.errors import DataError
from reverie.core.files import read_sealed, write_sealed
from reverie.core.registry import require_extra

MANIFEST = "download.json"
MODELS_REPO = "nicklashansen/mmbench2-models"
DATA_REPO = "nicklashansen/mmbench2"
MODEL_VARIANTS = ("base", "coverage_aware", "combined")
SPARE_BYTES = 1 << 28

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all and the file that is next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file as the Hub describes it."""

    name: str
    size: int
    sha256: str | None
    """Of large files."""
    git_sha1: str | None
    """Of small ones: git's own checksum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadOrder:
    """What to fetch, and where to."""

    repo: str
    kind: Literal["model", "dataset"]
    revision: str
    """A commit, a tag or a branch; a commit never changes."""
    wants: Callable[[str], bool]
    """Tells whether a file of the repository is wanted."""
    what: str
    """What was asked for, in words, for messages."""
    out: Path
    endpoint: str | None = None
    """Address of the Hub; None takes the library's, which reads HF_ENDPOINT."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloaded:
    """What is on the disk now."""

    folder: Path
    commit: str
    files: tuple[str, ...]
    num_bytes: int
    is_offline: bool = False
    """True if the Hub was not asked: the files are from an earlier download or its cache."""


def wants_model(variants: Iterable[str]) -> Callable[[str], bool]:
    """Select the two files of each variant, and what lies at the root."""
    names = {f"{variant}/{part}.pt" for variant in variants for part in ("tokenizer", "dynamics")}
    return lambda name: name in names or _is_note(name)


def wants_data(partitions: Iterable[str], tasks: Iterable[str]) -> Callable[[str], bool]:
    """Select tables and strips of partitions and tasks (empty: all), and notes at the root."""
    folders, chosen = frozenset(partitions), frozenset(tasks)
    pattern = re.compile(r"([^/]+)/(.+?)(?:\.pt|-\d+\.png)")

    def wants(name: str) -> bool:
        found = pattern.fullmatch(name)
        if found is None:
            return _is_note(name)
        folder, task = found.groups()
        return (not folders or folder in folders) and (not chosen or task in chosen)

    return wants


def download(
    order: DownloadOrder, *, progress: Progress = lambda done, total, name: None
) -> Downloaded:
    """Fetch what is missing, verify everything, and list it in ``download.json``, last.

    Without a connection, or with HF_HUB_OFFLINE=1, an earlier download or the library's cache is
    used if it holds what is wanted.

    Raises:
        DataError: The Hub cannot be reached or refuses, nothing of what is wanted is there, the
            folder holds another commit, the disk is too small, or a file stays damaged.
    """
    hub = require_extra("huggingface_hub", "hub", "download from the Hub")
    for part in ("constants", "errors"):
        require_extra(f"huggingface_hub.{part}", "hub", "download from the Hub")
    if hub.constants.HF_HUB_OFFLINE:
        return _from_disk(hub, order, "HF_HUB_OFFLINE is set")
    try:
        commit, files = _describe(hub, order)
    except hub.errors.HfHubHTTPError as error:
        raise DataError(
            f"The Hub refuses '{order.repo}' at revision '{order.revision}': {_line(error)} Check "
            f"the names; private repositories need 'hf auth login'."
        ) from error
    except _connection_errors(hub) as error:
        return _from_disk(hub, order, f"the Hub cannot be reached ({_line(error)})")
    wanted = [file for file in files if order.wants(file.name)]
    if not any(not _is_note(file.name) for file in wanted):
        raise DataError(
            f"'{order.repo}' at commit {commit[:12]} has no {order.what}. It has "
            f"{', '.join(_folders(files)) or 'nothing'}."
        )
    known = _check_commit(order, commit)
    _check_disk(order, wanted)
    total, done = sum(file.size for file in wanted), 0
    for file in wanted:
        progress(done, total, file.name)
        _fetch(hub, order, commit, file)
        done += file.size
    listed = known | {file.name: _entry(file) for file in wanted}
    write_sealed(
        order.out / MANIFEST,
        {"repo": order.repo, "kind": order.kind, "commit": commit, "files": listed},
    )
    return Downloaded(
        folder=order.out,
        commit=commit,
        files=tuple(file.name for file in wanted),
        num_bytes=total,
    )


def verify_listed(paths: Iterable[Path]) -> None:
    """Verify files that ``download`` fetched; files from elsewhere are left alone.

    Raises:
        DataError: A file is not what the Hub listed.
    """
    manifests: dict[Path, dict[str, Any]] = {}
    for path in paths:
        root = next((x for x in path.resolve().parents if (x / MANIFEST).is_file()), None)
        if root is None:
            continue
        if root not in manifests:
            manifests[root] = _read_manifest(root / MANIFEST)["files"]
        entry = manifests[root].get(path.resolve().relative_to(root).as_posix())
        if entry is not None and not _is_intact(path, RemoteFile(name=path.name, **entry)):
            raise DataError(
                f"'{path}' is missing or damaged: it is not the file that was downloaded. Run the "
                f"same 'reverie … download' again; only it is fetched."
            )


def _describe(hub: Any, order: DownloadOrder) -> tuple[str, list[RemoteFile]]:
    info = hub.HfApi(endpoint=order.endpoint).repo_info(
        order.repo, repo_type=order.kind, revision=order.revision, files_metadata=True
    )
    files = []
    for item in info.siblings or []:
        path = PurePosixPath(item.rfilename)
        if path.is_absolute() or ".." in path.parts or "\\" in item.rfilename:
            raise DataError(f"'{order.repo}' lists the unsafe file name '{item.rfilename}'.")
        lfs = item.lfs
        sha256 = None if lfs is None else (lfs["sha256"] if isinstance(lfs, dict) else lfs.sha256)
        files.append(
            RemoteFile(
                name=item.rfilename,
                size=int(item.size or 0),
                sha256=sha256,
                git_sha1=None if sha256 else item.blob_id,
            )
        )
    return str(info.sha), files


def _fetch(hub: Any, order: DownloadOrder, commit: str, file: RemoteFile) -> None:
    """Fetch one file unless it is there and right; a damaged one is fetched once more."""
    path = order.out / file.name
    if _is_intact(path, file):
        return
    for is_last in (False, True):
        # What is there is wrong: without this the library would keep it.
        path.unlink(missing_ok=True)
        try:
            hub.hf_hub_download(
                order.repo,
                file.name,
                repo_type=order.kind,
                revision=commit,
                local_dir=order.out,
                endpoint=order.endpoint,
                force_download=is_last,
            )
        except (hub.errors.HfHubHTTPError, *_connection_errors(hub)) as error:
            raise DataError(
                f"'{file.name}' could not be downloaded: {_line(error)} What has arrived is kept; "
                f"the same command goes on."
            ) from error
        if _is_intact(path, file):
            return
    path.unlink(missing_ok=True)
    raise DataError(
        f"'{file.name}' arrived twice with another checksum than the Hub lists ({file.size} "
        f"bytes expected). Something between here and the Hub changes files; try another network."
    )


def _from_disk(hub: Any, order: DownloadOrder, reason: str) -> Downloaded:
    """Use what an earlier download left, or else the library's cache."""
    folders = [(order.out, _listed_commit(order))]
    try:
        cached = Path(
            hub.snapshot_download(
                order.repo,
                repo_type=order.kind,
                revision=order.revision,
                local_files_only=True,
            )
        )
        folders.append((cached, cached.name))
    except (hub.errors.HfHubHTTPError, *_connection_errors(hub)):
        # No such snapshot in the cache: the earlier download is all there can be.
        cached = None
    for folder, commit in folders:
        files = _present(folder, order) if commit else []
        if files:
            verify_listed(folder / name for name in files)
            return Downloaded(
                folder=folder,
                commit=str(commit),
                files=tuple(files),
                num_bytes=sum((folder / name).stat().st_size for name in files),
                is_offline=True,
            )
    raise DataError(
        f"There is no {order.what} of '{order.repo}' at revision '{order.revision}' on this "
        f"machine, and {reason}. Connect, or copy '{order.out}' or the Hub's cache from a machine "
        f"that has it."
    )


def _present(folder: Path, order: DownloadOrder) -> list[str]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in names if order.wants(name) and not _is_note(name))


def _listed_commit(order: DownloadOrder) -> str | None:
    path = order.out / MANIFEST
    if not path.is_file():
        return None
    listed = _read_manifest(path)
    is_pinned = re.fullmatch(r"[0-9a-f]{40}", order.revision) is not None
    if listed["repo"] != order.repo or (is_pinned and listed["commit"] != order.revision):
        return None
    return str(listed["commit"])


def _check_commit(order: DownloadOrder, commit: str) -> dict[str, Any]:
    """Refuse to mix two commits in a folder; return what it lists so far."""
    path = order.out / MANIFEST
    if not path.is_file():
        return {}
    listed = _read_manifest(path)
    if (listed["repo"], listed["kind"], listed["commit"]) != (order.repo, order.kind, commit):
        raise DataError(
            f"'{order.out}' holds '{listed['repo']}' at commit {listed['commit']}; '{order.repo}' "
            f"at '{order.revision}' is now {commit}. Give --revision {listed['commit']} to stay "
            f"with it, or another folder."
        )
    return dict(listed["files"])


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        listed = read_sealed(path)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is damaged ({error}). Delete it and download again.") from error
    fields = {"size", "sha256", "git_sha1"}
    is_whole = isinstance(listed, dict) and {"repo", "kind", "commit", "files"} == set(listed)
    if not is_whole or not all(
        isinstance(entry, dict) and set(entry) == fields for entry in listed["files"].values()
    ):
        raise DataError(f"'{path}' is damaged. Delete it and download again.")
    return listed


def _check_disk(order: DownloadOrder, wanted: Iterable[RemoteFile]) -> None:
    order.out.mkdir(parents=True, exist_ok=True)
    missing = sum(file.size for file in wanted if not (order.out / file.name).is_file())
    free = shutil.disk_usage(order.out).free
    if missing + SPARE_BYTES > free:
        raise DataError(
            f"'{order.out}' has {free / 1e9:.1f} GB free, the download needs another "
            f"{missing / 1e9:.1f} GB. Choose fewer partitions or tasks, or another disk."
        )


def _is_intact(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    expected = file.sha256 or file.git_sha1
    running = hashlib.sha256() if file.sha256 else hashlib.sha1(usedforsecurity=False)
    if not file.sha256:
        running.update(f"blob {file.size}\0".encode())
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            running.update(piece)
    return expected is None or running.hexdigest() == expected


def _entry(file: RemoteFile) -> dict[str, Any]:
    return {"size": file.size, "sha256": file.sha256, "git_sha1": file.git_sha1}


def _folders(files: Iterable[RemoteFile]) -> list[str]:
    return sorted({file.name.partition("/")[0] for file in files if "/" in file.name})[:12]


def _is_note(name: str) -> bool:
    return "/" not in name


def _connection_errors(hub: Any) -> tuple[type[Exception], ...]:
    # The library's own HTTP client changed between its versions; its errors module names it.
    return (OSError, getattr(hub.errors, "HTTPError", OSError))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
