"""Exact snapshots of a MuJoCo simulator."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from reverie.envs.mujoco_renderer import prepare_mujoco

PLACES = (
    "xpos",
    "xquat",
    "xmat",
    "xipos",
    "ximat",
    "geom_xpos",
    "geom_xmat",
    "site_xpos",
    "site_xmat",
    "cam_xpos",
    "cam_xmat",
    "light_xpos",
    "light_xdir",
    "subtree_com",
    "ten_length",
    "wrap_xpos",
)
"""Where things are in the world, as ``MjData`` has it. After a plain ``mj_step`` these lag one
simulator step behind the state, and both pictures and some rewards are computed from them."""

FURNITURE = (
    "body_pos",
    "body_quat",
    "geom_pos",
    "geom_quat",
    "geom_size",
    "geom_rgba",
    "site_pos",
    "site_quat",
    "site_size",
    "site_rgba",
    "mat_rgba",
    "dof_damping",
    "cam_pos",
    "cam_quat",
)
"""What resets write into ``MjModel``: targets, furniture, colours, friction of a hinge."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhysicsState:
    """One moment of a simulator; plain arrays, never written to."""

    integration: Float64[np.ndarray, " n"]
    """All that the integrator carries from one step to the next."""
    places: tuple[np.ndarray, ...]
    """One array for each name in ``PLACES``."""
    furniture: tuple[np.ndarray, ...]
    """One array for each name in ``FURNITURE``."""


def save_physics(model: Any, data: Any) -> PhysicsState:
    """Copy a moment.

    Args:
        model: The ``MjModel``; it is only read.
        data: The ``MjData``; it is only read.
    """
    mujoco = prepare_mujoco()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    integration = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, integration, kind)
    return PhysicsState(
        integration=integration,
        places=tuple(np.array(getattr(data, name)) for name in PLACES),
        furniture=tuple(np.array(getattr(model, name)) for name in FURNITURE),
    )


def restore_physics(model: Any, data: Any, state: PhysicsState) -> None:
    """Go back to a moment of the same model, bit for bit: what follows it, and its picture.

    The moment may belong to an earlier episode, or to another instance of the same simulator.
    """
    mujoco = prepare_mujoco()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    for name, values in zip(FURNITURE, state.furniture, strict=True):
        getattr(model, name)[:] = values
    mujoco.mj_setState(model, data, state.integration, kind)
    mujoco.mj_forward(model, data)
    # mj_forward moves the solver's warm start; without this line the next step differs by 1e-7.
    mujoco.mj_setState(model, data, state.integration, kind)
    for name, values in zip(PLACES, state.places, strict=True):
        getattr(data, name)[:] = values
