"""Private copies of gymnasium's Box2D modules, whose constants can be set without side effects."""

import importlib.util
import os
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

SIMULATION_RATE_HZ = 50


@cache
def walker_module() -> ModuleType:
    """Return the bipedal walker seen through a window of 224 pixels, 15 pixels a metre."""
    module = _private_copy("bipedal_walker")
    # The robot was measured out with the old scale when the module ran, and keeps its size.
    module.VIEWPORT_W = module.VIEWPORT_H = 224  # pyright: ignore[reportAttributeAccessIssue]
    module.SCALE = 15.0  # pyright: ignore[reportAttributeAccessIssue]
    return module


@cache
def lander_module() -> ModuleType:
    """Return the lunar lander in a square world of 400 pixels, 30 pixels a metre."""
    module = _private_copy("lunar_lander")
    module.VIEWPORT_W = module.VIEWPORT_H = 400  # pyright: ignore[reportAttributeAccessIssue]
    return module


@cache
def racing_module() -> ModuleType:
    """Return the car race, observed in 224 pixels instead of 96."""
    module = _private_copy("car_racing")
    module.STATE_W = module.STATE_H = 224  # pyright: ignore[reportAttributeAccessIssue]
    return module


def _private_copy(name: str) -> ModuleType:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    with warnings.catch_warnings():
        # Raised inside C, where turning them into errors ends the process.
        warnings.simplefilter("ignore", DeprecationWarning)
        import Box2D
        import gymnasium

        assert Box2D.__file__, "Box2D is a package with files"
        path = Path(gymnasium.__file__).parent / "envs" / "box2d" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"_reverie_{name}", path)
        assert spec is not None and spec.loader is not None, f"gymnasium has no {path}"
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
