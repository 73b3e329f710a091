"""``reverie play``: drive simulator and dream side by side in the browser."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from reverie.core.registry import require_extra
from reverie.models.load import resolve_model


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where the page is."""

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 lets everybody on your network play."""
    port: int = 8765
    """Port to listen on; 0 takes a free one."""
    allowed_host: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = ()
    """Names, beside localhost and addresses, by which the server may be reached."""


def play(
    models: tyro.conf.Positional[tuple[str, ...]] = ("pocket",),
    *,
    task: str | None = None,
    address: Annotated[Address, tyro.conf.OmitArgPrefixes] = Address(),  # noqa: B008
    browser: bool = True,
    watch: bool = True,
    sessions: int = 8,
    device: str = "cpu",
) -> None:
    """Drive a simulator and the dream of it side by side, in the browser.

    Both worlds get the actions of your keyboard; beside them stand the readings that tell how far
    the dream can be trusted. Ctrl-C stops the server.

    Examples: 'reverie play' plays the shipped model; 'reverie play runs/pocket/model --task
    pygame-pong' plays your own, beginning with pong; 'reverie play --no-browser --port 9000'
    only serves, and says the address.

    Args:
        models: Names of shipped models, or model folders; the page offers them all.
        task: Task to begin with; the model's first one by default.
        address: Where the page is.
        browser: Open the page in the default browser.
        watch: Show the calibrated probability that the dream goes wrong, where the model has a
            calibration. It dreams three twins of every frame: --no-watch is at least twice as
            fast.
        sessions: How many tabs may play at once.
        device: cpu, or cuda: the models are then on the GPU.
    """
    from reverie.parallel.device import choose_device

    require_page()
    chosen = str(choose_device(device))
    folders = [resolve_model(name) for name in models]
    # The web packages are an extra, so their importers come after the check.
    from reverie.serve.app import ServeConfig
    from reverie.serve.engine import EngineConfig
    from reverie.serve.server import serve
    from reverie.serve.session import SessionConfig

    config = ServeConfig(
        engine=EngineConfig(max_sessions=sessions),
        session=SessionConfig(first_task=task),
        watches=watch,
        allowed_hosts=tuple(name.lower() for name in address.allowed_host),
    )
    serve(
        folders,
        host=address.host,
        port=address.port,
        open_browser=browser,
        on_ready=_say_address,
        config=config,
        device=chosen,
    )


def require_page() -> None:
    """Refuse at once if a package that serves the page is missing.

    Raises:
        MissingExtraError: It says how to install what is missing.
    """
    for module in ("fastapi", "uvicorn", "websockets"):
        require_extra(module, "play", "serve the page")


def _say_address(url: str) -> None:
    print(f"The page is at {url}  (Ctrl-C stops it)", flush=True)
