"""``reverie serve``: a frozen model as an HTTP service."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from reverie.core.registry import require_extra
from reverie.models.load import resolve_model


def serve(
    model: tyro.conf.Positional[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8770,
    workers: int = 1,
    precision: Literal["auto", "int8", "float32"] = "auto",
    sessions: int = 256,
    session_expiry_s: float = 300.0,
    allowed_host: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (),
) -> None:
    """Serve a frozen model: encode frames, imagine, act, and verify an action before it is done.

    Answers depend on the request alone, so any worker, on any machine, gives the same. The schema
    with examples is at /openapi.json, what is served at /health, numbers for Prometheus at
    /metrics. Ctrl-C or SIGTERM stops it after the requests that run.

    Examples: 'reverie serve runs/cartpole-dream/model' serves a dream with its controller, in
    INT8; '--workers 2' uses two cores; 'reverie serve fit' teaches verify what is usual.

    Args:
        model: Name of a shipped model, or a model folder.
        host: Address to listen on. 0.0.0.0 lets everybody on your network in.
        port: Port to listen on; 0 takes a free one.
        workers: Processes that answer, one thread for the model in each. With more than one there
            are no sessions: post windows.
        precision: int8 computes linear layers and the LSTM in 8 bits (classic family, CPU).
        sessions: Sessions that are remembered at once.
        session_expiry_s: Seconds without a request after which a session is forgotten.
        allowed_host: Names, beside localhost and addresses, by which the service may be reached.
    """
    require_service()
    folder = resolve_model(model)
    # The web packages are an extra, so their importers come after the check.
    from reverie.serve.service.app import ServiceConfig
    from reverie.serve.service.server import ServiceOrder, serve_model

    config = ServiceConfig(
        max_sessions=sessions,
        session_expiry_s=session_expiry_s,
        num_workers=workers,
        allowed_hosts=(host.lower(), *(name.lower() for name in allowed_host)),
    )
    order = ServiceOrder(folder=folder, precision=precision, config=config)
    serve_model(order, host=host, port=port, on_ready=_say_address)


def fit(
    model: str,
    store: Path,
    /,
    *,
    alpha: float = 0.02,
    moments: int = 400,
    precision: Literal["auto", "int8", "float32"] = "auto",
    samples: int | None = None,
    horizon: int | None = None,
) -> None:
    """Measure what is usual in real play, and keep it beside the model for verify.

    At moments of stored episodes the readings of the action really taken are recorded; verify
    then refuses an action whose readings hardly ever occur. Take episodes that the model did not
    learn from, else it is too strict.

    Example: reverie serve fit runs/cartpole-dream/model data/held-out

    Args:
        model: Name of a shipped model, or a model folder.
        store: Episode store of real play, at the model's frame size.
        alpha: Share of real moments that may be refused.
        moments: Moments per task.
        precision: What the model will be served in.
        samples: Dreams per check; 16 for the classic family, 4 for transformers.
        horizon: Steps that a check dreams ahead; 10 and 4.
    """
    from dataclasses import replace

    from reverie.data.store import EpisodeStore
    from reverie.serve.service.fitting import fit_service
    from reverie.serve.service.served import load_served_model

    folder = resolve_model(model)
    served = load_served_model(folder, precision=precision, with_fit=False)
    asked = {"num_samples": samples, "horizon": horizon}
    given = {name: value for name, value in asked.items() if value is not None}
    served = replace(served, foresight=replace(served.foresight, **given))
    console = Console(highlight=False)
    with console.status("measuring real play") as status:
        found = fit_service(
            served,
            folder,
            EpisodeStore.open(store),
            moments_per_task=moments,
            alpha=alpha,
            on_moment=lambda done, total: status.update(f"moment {done} of {total}"),
        )
    for task, threshold in found.thresholds.items():
        console.print(
            f"{task}: {found.num_moments[task]} moments; verify refuses below a confidence of "
            f"{threshold:.4g}, as {alpha:.1%} of real moments are.",
            soft_wrap=True,
        )


COMMANDS = {"fit": fit}


def require_service() -> None:
    """Refuse at once if a package of the service is missing.

    Raises:
        MissingExtraError: It says how to install what is missing.
    """
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        require_extra(module, "serve", "serve a model over HTTP")


def _say_address(url: str) -> None:
    print(f"The service is at {url}  (schema: {url}openapi.json; Ctrl-C stops it)", flush=True)
