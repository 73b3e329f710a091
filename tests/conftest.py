"""Set-up of every test: shapes are checked at run time, one thread a process, no window opens."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest
from jaxtyping import install_import_hook

# Must precede the first import of the package. REVERIE_SHAPE_CHECKS=0 switches it off.
if os.environ.get("REVERIE_SHAPE_CHECKS", "1") != "0":
    install_import_hook("reverie", "beartype.beartype")

from tests.support.skips import SkipWatch

hypothesis.settings.register_profile("reverie", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("reverie")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipWatch(), "skip-watch")
