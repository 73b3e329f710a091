"""``reverie demo``: measure the shipped model, then play it."""

import time
from pathlib import Path

from rich.console import Console

from reverie.cli.numbers import write_numbers
from reverie.cli.play import require_page
from reverie.core.registry import require_extra

DEFAULT_PORT = 8765


def demo(
    *,
    model: str = "pocket",
    tasks: tuple[str, ...] = (),
    out: Path = Path("runs/demo"),
    json: Path | None = None,
    serve: bool = True,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    browser: bool = True,
) -> None:
    """Evaluate the shipped model on fresh episodes of its simulators, then serve the page.

    Args:
        model: Name of a shipped model, or the path of a model folder.
        tasks: Tasks to measure; all of the model's by default.
        out: Folder for the report, the pictures and evaluation.json.
        json: Also write the numbers to this file.
        serve: Serve the page afterwards; --no-serve stops after the evaluation.
        host: Address to listen on; anything but localhost lets others on the network play.
        port: Port to listen on.
        browser: Open the page in the default browser.
    """
    from reverie.models.load import resolve_model

    require_extra("matplotlib.figure", "eval", "draw the plots of the report")
    if serve:
        _check_page(host, port)
    from reverie.recipes.demo import run_demo

    console = Console()
    begun_s = time.perf_counter()
    folder = resolve_model(model)
    console.print(f"Measuring [bold]{folder.name}[/] on fresh episodes of its simulators …")
    with console.status("starting") as status:
        result = run_demo(
            folder,
            out,
            tasks=tasks,
            on_task=lambda done: status.update(f"measured {done.task}"),
        )
    from reverie.cli.results import print_results

    print_results(console, result.numbers)
    seconds = time.perf_counter() - begun_s
    console.print(f"Report: {result.report}   ({seconds:.0f} s)", soft_wrap=True)
    write_numbers(console, result.numbers, json)
    if serve:
        from reverie.serve.server import serve as serve_page

        serve_page(
            [folder],
            host=host,
            port=port,
            open_browser=browser,
            on_ready=lambda url: console.print(f"Play at [bold]{url}[/] (Ctrl-C stops)"),
        )


def _check_page(host: str, port: int) -> None:
    """Refuse now, not after all the measuring, what would keep the page from being served."""
    require_page()
    from reverie.serve.server import bind

    bind(host, port).close()
