"""``reverie serve`` as a process: workers behind one address, and a clean end."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reverie.cli.main import main
from tests.support import service
from tests.support.service import SIDE_PX, grey


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    code = "import sys; from reverie.cli.main import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "serve", str(folder), "--port", "0", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, **pipes) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+/", process.stdout.readline())
            assert found is not None, process.communicate()
            yield found.group(), process
        finally:
            if process.poll() is None:
                process.kill()


def ask(url: str, body: object | None = None) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, answer.read().decode()


def test_a_request_that_runs_is_answered_before_the_service_ends(tmp_path: Path) -> None:
    folder = service.save_classic(tmp_path / "dream")
    window = {"frames": [grey(SIDE_PX)], "starts_episode": True}
    long_dream = {"window": window, "horizon": 200, "num_samples": 64}
    answers: list[tuple[int, str]] = []
    with serving(folder) as (url, process):
        visitor = threading.Thread(target=lambda: answers.append(ask(f"{url}imagine", long_dream)))
        visitor.start()
        # Until the request has arrived.
        while 'reverie_requests_total{endpoint="/health"' not in ask(f"{url}metrics")[1]:
            ask(f"{url}health")
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
        visitor.join(30)
    assert (process.returncode, out, error) == (0, "", "")
    assert answers and answers[0][0] == 200
    assert len(json.loads(answers[0][1])["steps"]) == 200


@pytest.mark.long
def test_two_workers_share_one_address_and_their_numbers(tmp_path: Path) -> None:
    folder = service.save_classic(tmp_path / "dream")
    window = {"frames": [grey(SIDE_PX)], "starts_episode": True}
    with serving(folder, "--workers", "2") as (url, process):
        answers = {
            ask(f"{url}encode", {"window": window})[1].split('"latency')[0] for _ in range(9)
        }
        assert len(answers) == 1
        counts = re.findall(
            r'reverie_requests_total\{endpoint="/encode",status="200"\} (\S+)',
            ask(f"{url}metrics")[1],
        )
        assert [float(count) for count in counts] == [9.0]
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (0, "", "")


def test_serve_on_a_taken_port_or_without_a_model_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = service.save_classic(tmp_path / "dream")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["serve", str(folder), "--port", port]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"reverie: Port {port} on 127.0.0.1 is in use.")
    assert main(["serve", str(tmp_path)]) == 2
    assert "is not a model folder" in capsys.readouterr().err
