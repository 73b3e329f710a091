"""Set-up of every test: shapes are checked at run time, one thread a process, no window opens."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest

from tests.support.shapes import check_annotations
from tests.support.skips import SkipWatch

# Must precede the first import of the package. REVERIE_SHAPE_CHECKS=0 switches it off.
if os.environ.get("REVERIE_SHAPE_CHECKS", "1") != "0":
    jaxtyping.install_import_hook(
        "reverie", f"{check_annotations.__module__}.{check_annotations.__name__}"
    )

hypothesis.settings.register_profile("reverie", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("reverie")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipWatch(), "skip-watch")


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Let wrong shapes through to the code, to test the refusals that users see."""
    was_off = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", was_off)
