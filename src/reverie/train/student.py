"""C by proximal policy optimisation: stable-baselines3's PPO over a batch of dreams.

What comes out is an ordinary controller (one tanh layer), so that the same code plays, scores and
serves it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError
from reverie.core.metrics import MetricWriter
from reverie.core.registry import require_extra
from reverie.core.seeds import child_seed, numpy_rng
from reverie.envs.global_rng import seeded_global_rng
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.world import ClassicWorld
from reverie.models.dream_env.dreams import DreamConfig
from reverie.models.dream_env.sb3 import make_sb3_env
from reverie.models.dream_env.vector import DreamVectorEnv
from reverie.train.classic import LatentStream
from reverie.train.clocks import catch_stop
from reverie.train.controller import Check, ControllerWeights, draw_starts
from reverie.train.loop import TrainingStoppedError
from reverie.train.phase import PhaseFolder, Surroundings
from reverie.train.progress import Progress

_PURPOSE = "train a controller by PPO"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentConfig:
    """How PPO trains C in the dream (Schulman et al. 2017, arXiv 1707.06347)."""

    horizon: int = 100
    """Steps after which a dream is cut."""
    updates: int = 60
    num_rows: int = 64
    """Dreams side by side."""
    steps_per_update: int = 64
    """Steps of each dream between two updates."""
    epochs: int = 4
    minibatch: int = 512
    lr: float = 3e-4
    discount: float = 0.99
    trace_decay: float = 0.95
    clip: float = 0.2
    entropy_weight: float = 0.01
    num_starts: int = 2000
    """Moments of real episodes that dreams begin from."""
    start_context: int = 16
    check_every: int = 20
    """Updates between two looks at the real simulator; the last one always looks."""

    def __post_init__(self) -> None:
        """Refuse trainings that cannot begin."""
        counts = (
            self.horizon,
            self.updates,
            self.num_rows,
            self.steps_per_update,
            self.epochs,
            self.minibatch,
        )
        if min(*counts, self.num_starts, self.start_context, self.check_every) < 1:
            raise ConfigError(f"The counts of a student must be at least 1, got {counts}.")


def check_student(controller: ControllerConfig) -> None:
    """Refuse controllers that PPO's policy cannot become.

    Raises:
        ConfigError: It says which settings are needed.
    """
    is_binary = controller.action_map == "binary" and controller.num_outputs == 1
    if not is_binary or not controller.num_hidden or not controller.has_bias:
        raise ConfigError(
            f"A student is a binary controller with one hidden layer and bias, got "
            f"'{controller.action_map}' with {controller.num_outputs} outputs, "
            f"{controller.num_hidden} hidden units. Set controller.action_map=binary and "
            f"controller.num_hidden=64."
        )


def train_student(
    world: ClassicWorld,
    controller: ControllerConfig,
    first: Float[Tensor, " p"],
    stream: LatentStream,
    config: StudentConfig,
    *,
    folder: PhaseFolder,
    around: Surroundings,
    check: Check | None = None,
) -> Float[Tensor, " p"]:
    """Train in the dream and return the policy's most likely action as a controller.

    A dream ends by a draw from its chance to end; at the horizon it is cut, and the value of the
    state there counts on. A phase that is stopped begins anew: it takes minutes.

    Args:
        world: Trained V and M.
        controller: Shape of C.
        first: Where to begin: zeros for a fresh policy, or the controller of the round before.
        stream: Real latents that dreams start from.
        config: How.
        folder: Where the phase keeps its files.
        around: Seed, audience.
        check: Looks at the real simulator; what it sees never steers the training.
    """
    check_student(controller)
    folder.claim()
    weights = ControllerWeights(controller.num_parameters)
    if folder.done is None:
        seed = child_seed(around.seed, str(folder.path.relative_to(around.folder)), "student")
        env = _make_env(world, stream, config, seed)
        with _own_randomness(seed):
            algorithm = _make_algorithm(env, controller, config)
            if first.any():
                to_policy(algorithm.policy, controller, first)
            _run(algorithm, controller, config, folder, around, check)
        weights.parameters_vector.copy_(to_controller(algorithm.policy))
        folder.finish({"updates": config.updates}, weights)
    folder.load_result(weights, what="controller")
    return weights.parameters_vector


def to_controller(policy: Any) -> Float[Tensor, " p"]:
    """Write a two-way policy as the vector of a binary controller: right where it is likelier."""
    hidden, output = policy.mlp_extractor.policy_net[0], policy.action_net
    parts = (
        hidden.weight.T,
        hidden.bias,
        output.weight[1] - output.weight[0],
        output.bias[1] - output.bias[0],
    )
    return torch.cat([part.detach().reshape(-1) for part in parts]).clone()


@torch.no_grad()
def to_policy(policy: Any, controller: ControllerConfig, parameters: Float[Tensor, " p"]) -> None:
    """Let a policy act as a controller does; the inverse of ``to_controller``."""
    inputs, units = controller.num_features, controller.num_hidden
    sizes = (inputs * units, units, units, 1)
    weight, bias, difference, offset = parameters.split(sizes)
    hidden, output = policy.mlp_extractor.policy_net[0], policy.action_net
    hidden.weight.copy_(weight.reshape(inputs, units).T)
    hidden.bias.copy_(bias)
    output.weight.copy_(torch.stack([-difference / 2, difference / 2]))
    output.bias.copy_(torch.cat([-offset / 2, offset / 2]))


def _make_env(world: ClassicWorld, stream: LatentStream, config: StudentConfig, seed: int) -> Any:
    starts = draw_starts(
        world,
        stream,
        config.num_starts,
        context=config.start_context,
        rng=numpy_rng(seed, "starts"),
        newest_share=0.5,
    )
    env = DreamVectorEnv(
        world,
        starts,
        config.num_rows,
        config=DreamConfig(horizon=config.horizon, end="sample"),
        actions=np.array([[-1.0], [1.0]], np.float32),
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    wrapped = make_sb3_env(env)
    wrapped.seed(child_seed(seed, "dreams") % 2**31)
    return wrapped


def _make_algorithm(env: Any, controller: ControllerConfig, config: StudentConfig) -> Any:
    sb3: Any = require_extra("stable_baselines3", "rl", _PURPOSE)
    units = controller.num_hidden
    return sb3.PPO(
        "MlpPolicy",
        env,
        learning_rate=config.lr,
        n_steps=config.steps_per_update,
        batch_size=min(config.minibatch, config.num_rows * config.steps_per_update),
        n_epochs=config.epochs,
        gamma=config.discount,
        gae_lambda=config.trace_decay,
        clip_range=config.clip,
        ent_coef=config.entropy_weight,
        policy_kwargs={"net_arch": {"pi": [units], "vf": [units]}, "activation_fn": torch.nn.Tanh},
        device="cpu",
    )


def _run(
    algorithm: Any,
    controller: ControllerConfig,
    config: StudentConfig,
    folder: PhaseFolder,
    around: Surroundings,
    check: Check | None,
) -> None:
    seen: list[Tensor] = []
    with MetricWriter(folder.path / "metrics.jsonl", resume_step=0) as writer, catch_stop() as stop:
        for update in range(1, config.updates + 1):
            algorithm.learn(
                config.num_rows * config.steps_per_update, reset_num_timesteps=update == 1
            )
            found = [episode["r"] for episode in algorithm.ep_info_buffer or []]
            values: dict[str, float | str] = {
                "dream_return": float(np.mean(found)) if found else float("nan"),
            }
            if check is not None and (update % config.check_every == 0 or update == config.updates):
                # Earlier policies are looked at again: pairs of dream and real return.
                seen.insert(0, to_controller(algorithm.policy))
                values |= dict(check(torch.stack(seen), update))
            writer.write(update, values)
            _show(around, folder, update, config, values)
            if stop and update < config.updates:
                raise TrainingStoppedError(
                    f"Stopped after update {update} of {config.updates}. Run the same command "
                    f"again: this part begins anew, what came before is saved."
                )


def _show(
    around: Surroundings,
    folder: PhaseFolder,
    update: int,
    config: StudentConfig,
    values: dict[str, float | str],
) -> None:
    numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
    around.audience.show(
        Progress(
            phase=f"student {folder.path.name}",
            done=update,
            total=config.updates,
            unit="updates",
            values=numbers,
        )
    )


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Fence the library off: it draws from the global generators of torch and NumPy."""
    with torch.random.fork_rng(devices=[]), seeded_global_rng(child_seed(seed, "numpy")):
        torch.manual_seed(child_seed(seed, "torch"))
        yield
