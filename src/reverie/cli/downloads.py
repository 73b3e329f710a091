"""What both download commands show while they work."""

from pathlib import Path

from rich.console import Console

from reverie.data.download import DownloadOrder, download


def run_download(order: DownloadOrder) -> Path:
    """Download with a line of progress; return the folder that holds the files."""
    console = Console(highlight=False)
    with console.status(f"asking for {order.what}") as status:

        def tell(done: int, total: int, name: str) -> None:
            status.update(f"{done / 1e9:.2f} of {total / 1e9:.2f} GB, {name}")

        got = download(order, progress=tell)
    where = "found without the Hub" if got.is_offline else "verified"
    console.print(
        f"{len(got.files)} files, {got.num_bytes / 1e6:.1f} MB, commit {got.commit[:12]}, "
        f"{where}: {got.folder}",
        soft_wrap=True,
    )
    return got.folder
