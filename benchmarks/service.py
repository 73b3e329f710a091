"""What a checked action costs over HTTP: a real process, INT8, several clients at once.

Every client posts the newest frames of an episode, has an action verified and has the controller
act: both answers together are a pair. Then it has the controller act with a check of its own, which
is the same work in one request. The weights are untrained unless ``--model`` names a folder: they
do not change the time.

    python benchmarks/service.py --json service.json
    python benchmarks/service.py --fuzz-minutes 10
    python benchmarks/service.py --model src/reverie/models/pretrained/cartpole --agreement 2000
"""

import argparse
import contextlib
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from reverie.envs.registry import make_env
from reverie.models.classic.disk import save_classic_world
from reverie.models.classic.mdn_rnn import MdnRnn
from reverie.models.classic.quantise import quantise_int8
from reverie.models.classic.vae import Vae
from reverie.models.classic.world import ClassicWorld
from reverie.models.families import load_any_world, load_controller_of
from reverie.planning.live import Agent
from reverie.recipes.cartpole import cartpole_dream
from reverie.recipes.classic_base import ClassicRunConfig
from reverie.recipes.world_models import takecover_dream
from reverie.serve.service.window import write_frame

BAR_MS = 120.0
SIZES = {"cartpole": cartpole_dream, "paper": takecover_dream}


def main() -> None:
    """Measure and print a table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a model folder; by default one is made")
    parser.add_argument("--size", choices=SIZES, default="cartpole", help="of the model made here")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=25, help="pairs per client")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=("int8", "float32"), default="int8")
    parser.add_argument("--fuzz-minutes", type=float, help="send made-up requests instead")
    parser.add_argument("--agreement", type=int, help="real steps on which INT8 and float32 act")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = options.model or save_untrained(Path(home) / "dream", SIZES[options.size]())
        if options.agreement is not None:
            print(json.dumps(agreement(folder, options.agreement)))
            return
        words = ["--workers", str(options.workers), "--precision", options.precision]
        with running(folder, words) as (url, process):
            if options.fuzz_minutes is None:
                numbers = measure(url, options.clients, options.requests)
            else:
                numbers = fuzz_for(url, process.pid, options.fuzz_minutes * 60)
    table = Table("", "value")
    for name, value in numbers.items():
        table.add_row(name, str(value))
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")


def save_untrained(folder: Path, config: ClassicRunConfig) -> Path:
    """Write a model of a recipe's size, with a random controller."""
    torch.manual_seed(0)
    world = ClassicWorld(Vae(config.vae), MdnRnn(config.rnn), config.dream)
    parameters = 0.1 * torch.randn(config.controller.num_parameters)
    save_classic_world(folder, world, controller=config.controller, parameters=parameters)
    return folder


def agreement(folder: Path, num_steps: int) -> dict[str, Any]:
    """Let float32 play for real, and ask INT8 at each frame what it would have done."""
    exact = load_any_world(folder)
    assert isinstance(exact, ClassicWorld), "a controller belongs to the classic family"
    controller, parameters = load_controller_of(folder)
    rounded, _ = quantise_int8(exact)
    env = make_env(exact.tasks[0], frame_spec=exact.tokenizer.frame_spec)
    num_same = num_seen = seed = 0
    while num_seen < num_steps:
        agents = [Agent(world, controller, parameters, env.spec) for world in (exact, rounded)]
        frame, is_over = env.reset(seed), False
        seed += 1
        while not is_over and num_seen < num_steps:
            action = agents[0].act(frame)
            other = agents[1].act(frame)
            num_same += int((np.sign(action) == np.sign(other)).all())
            num_seen += 1
            # Both remember what was really done.
            agents[1].did(action)
            result = env.step(action)
            frame, is_over = result.frame, result.terminated or result.truncated
    return {"steps": num_seen, "same_action": num_same / num_seen}


@contextlib.contextmanager
def running(folder: Path, words: list[str]) -> Any:
    """Start ``reverie serve`` as a process; yields its address and the process."""
    code = "import sys; from reverie.cli.main import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "serve", str(folder), "--port", "0", *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found is not None, "the service did not say its address"
        try:
            yield found.group(), process
        finally:
            process.terminate()
            process.wait(30)


def measure(url: str, num_clients: int, num_requests: int) -> dict[str, Any]:
    """Let clients verify and act in a loop; return quantiles in milliseconds."""
    facts = httpx.get(f"{url}health", timeout=60).json()
    times: dict[str, list[float]] = {"pair": [], "checked_act": []}
    barrier = threading.Barrier(num_clients)
    failures: list[str] = []

    def work(number: int) -> None:
        bodies = [_body(facts, number * num_requests + index) for index in range(num_requests)]
        place = urllib.parse.urlsplit(url)
        # Clients take time of the same cores: theirs are bare, and write their requests before.
        client = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
        asked = [_requests(body) for body in bodies]
        with contextlib.closing(client):
            # Connections and kernels are warm before the clock runs.
            _post(client, *asked[0]["pair"][1])
            barrier.wait()
            for kinds in asked:
                for name, requests in kinds.items():
                    begun = time.perf_counter()
                    for path, content in requests:
                        status, text = _post(client, path, content)
                        if status != 200:
                            failures.append(text)
                    times[name].append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(num_clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - begun
    assert not failures, failures[0]
    numbers: dict[str, Any] = {
        "precision": facts["precision"],
        "frame_px": facts["frame_shape"][0],
        "clients": num_clients,
        "workers": facts["workers"],
        "pairs": len(times["pair"]),
        "requests_per_s": round(3 * len(times["pair"]) / wall_s, 1),
    }
    for name, values in times.items():
        for quantile in (50, 95, 99):
            numbers[f"{name}_p{quantile}_ms"] = round(1000 * np.percentile(values, quantile), 1)
    numbers["bar_ms"] = BAR_MS
    numbers["is_met"] = bool(numbers["pair_p95_ms"] < BAR_MS)
    return numbers


def _post(client: http.client.HTTPConnection, path: str, content: bytes) -> tuple[int, str]:
    client.request("POST", f"/{path}", content, {"Content-Type": "application/json"})
    answer = client.getresponse()
    return answer.status, answer.read().decode()


def _requests(body: dict[str, Any]) -> dict[str, list[tuple[str, bytes]]]:
    other = {**body, "window": {**body["window"], "actions": body["other_actions"]}}
    kinds = {
        "pair": [("verify", body, {"action": body["action"]}), ("act", body, {"verify": False})],
        # Of another window: one that was just verified is remembered.
        "checked_act": [("act", other, {})],
    }
    return {
        name: [
            (path, json.dumps({"window": of["window"], **more}).encode()) for path, of, more in rows
        ]
        for name, rows in kinds.items()
    }


def fuzz_for(url: str, pid: int, seconds: float) -> dict[str, Any]:
    """Send what schemathesis makes up, for so long; watch the memory of all processes."""
    import schemathesis

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.support.fuzz import fuzz, know_frames

    facts = httpx.get(f"{url}health", timeout=60).json()
    know_frames(facts["frame_shape"][0])
    schema = schemathesis.openapi.from_url(f"{url}openapi.json")
    until = time.monotonic() + seconds
    seen: dict[int, int] = {}
    memory: list[float] = []
    seed = 0
    while time.monotonic() < until:
        found = fuzz(schema, examples=20, root_seed=seed, goes_on=lambda: time.monotonic() < until)
        for (_, status), count in found.items():
            seen[status] = seen.get(status, 0) + count
        memory.append(_memory_mb(pid))
        seed += 1
    assert httpx.get(f"{url}health", timeout=60).json()["status"] == "ok"
    # The first rounds fill caches of allocators; what counts is what comes after.
    settled = memory[len(memory) // 4]
    return {
        "seconds": round(seconds),
        "requests": sum(seen.values()),
        "rounds": seed,
        **{f"status_{status}": count for status, count in sorted(seen.items())},
        "server_errors": sum(count for status, count in seen.items() if status >= 500),
        "memory_mb_first": round(memory[0], 1),
        "memory_mb_after_a_quarter": round(settled, 1),
        "memory_mb_last": round(memory[-1], 1),
        "growth_percent": round(100 * (memory[-1] / settled - 1), 2),
    }


def _memory_mb(pid: int) -> float:
    import psutil

    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    return sum(process.memory_info().rss for process in family) / 1e6


def _body(facts: dict[str, Any], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shape, count = tuple(facts["frame_shape"]), facts["max_frames"]
    width = next(iter(facts["action_widths"].values()))
    # Pictures that a simulator could draw: a bar that wanders over a plain ground.
    frames = np.full((count, *shape), 20, np.uint8)
    place = rng.integers(2, shape[1] - 2)
    for frame in frames:
        frame[:, place - 1 : place + 1] = 200
        place = int(np.clip(place + rng.integers(-1, 2), 2, shape[1] - 2))
    window = {
        "frames": [write_frame(frame) for frame in frames],
        "actions": rng.choice([-1.0, 1.0], (count - 1, width)).tolist(),
        "starts_episode": False,
    }
    return {
        "window": window,
        "action": rng.choice([-1.0, 1.0], width).tolist(),
        "other_actions": rng.choice([-1.0, 1.0], (count - 1, width)).tolist(),
    }


if __name__ == "__main__":
    main()
