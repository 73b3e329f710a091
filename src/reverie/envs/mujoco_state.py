"""Exact snapshots of MuJoCo physics.

Valid within one episode and one model: a reset of many tasks also writes into the model (places of
targets, furniture), which these arrays do not hold.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64

from reverie.envs.mujoco_renderer import prepare_mujoco


def save_physics(model: Any, data: Any) -> Float64[np.ndarray, " n"]:
    """Copy all that the integrator carries from one step to the next.

    Args:
        model: The ``MjModel``.
        data: The ``MjData``; it is only read.
    """
    mujoco = prepare_mujoco()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, state, kind)
    return state


def restore_physics(model: Any, data: Any, state: Float64[np.ndarray, " n"]) -> None:
    """Go back to a saved state, bit for bit; derived quantities are computed anew.

    Rewards that read what the last step left behind, rather than the state, need that restored
    too: gymnasium's ant and reacher read ``data.xpos`` from before the step.
    """
    mujoco = prepare_mujoco()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    mujoco.mj_setState(model, data, state, kind)
    mujoco.mj_forward(model, data)
    # mj_forward moves the solver's warm start; without this line the next step differs by 1e-7.
    mujoco.mj_setState(model, data, state, kind)
