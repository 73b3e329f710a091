"""Workers of a pool end with their parent, even if nobody tells them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from reverie.parallel.pool import make_pool

PROGRAM = """
import os, time
from reverie.parallel.pool import make_pool
if __name__ == "__main__":
    pool = make_pool(1)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stream:
        return stream.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_pool_works_in_another_process() -> None:
    with make_pool(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_ends_when_its_parent_is_killed(tmp_path: object) -> None:
    script = os.path.join(str(tmp_path), "parent.py")
    with open(script, "w") as stream:
        stream.write(PROGRAM)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + 30
    while is_running(worker) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not is_running(worker)
