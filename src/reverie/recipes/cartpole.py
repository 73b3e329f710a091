"""CartPole-v1, learned in a dream: random play, V, M, and a controller that never acts for real."""

from dataclasses import replace

from reverie.collect.order import CollectOrder
from reverie.core.types import FrameSpec
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.mdn_rnn import MdnRnnConfig
from reverie.models.classic.objective import MdnRnnObjectiveConfig, VaeObjectiveConfig
from reverie.models.classic.vae import VaeConfig
from reverie.models.classic.world import ClassicConfig
from reverie.recipes.classic_base import ClassicRunConfig, RoundsConfig, ScoreConfig
from reverie.train.classic import RnnTrainingConfig, VaeTrainingConfig
from reverie.train.controller import SearchConfig
from reverie.train.loop import FitConfig
from reverie.train.optim import OptimConfig

TASK = "cartpole-v1-close"
SMALL_VAE = VaeConfig(
    frame_px=32,
    num_stacked=4,
    latent_channels=16,
    encoder_kernels=(4, 4, 4, 2),
    encoder_channels=(16, 32, 32, 64),
    decoder_channels=(64, 32, 32, 16),
    decoder_kernels=(2, 4, 5, 4),
    activation="silu",
    output="linear",
    inverts_colours=True,
    has_components=True,
    component_blur_px=6.0,
    component_std=0.0015,
)
"""A fortieth of the work of the paper's V. With a blur of 6 px, twelve components tell the angle
with R2 0.95 within a metre of the middle; without, 32 components tell it with 0.52. The std is
about that of the rounding of pixels to whole numbers."""
_VAE_WARMUP_STEPS = 50
_PIXEL_STD = 0.03
"""Of what the convolutions paint beside the components."""


def cartpole_dream(tasks: tuple[str, ...] = ()) -> ClassicRunConfig:
    """A controller for CartPole-v1 that is trained in the dream alone.

    Run with ``reverie train cartpole-dream``: two minutes a round on one core, four to fourteen
    rounds, until the real return is near 500 (``docs/reproduce.md`` has the numbers over seeds and
    ``docs/log.md`` the reasons).
    """
    units = 64
    return ClassicRunConfig(
        recipe="cartpole-dream",
        data=_data(tasks, episodes=800, size_px=32),
        vae=SMALL_VAE,
        vae_training=_vae_training(steps=100, lr=3e-4),
        vae_refresh=_vae_training(steps=100, lr=3e-4),
        rnn=_rnn(SMALL_VAE.latent_channels, units),
        rnn_training=_rnn_training(steps=2000, lr=3e-3),
        rnn_refresh=_rnn_training(steps=800, lr=2e-3),
        dream=_dream(tasks),
        controller=_controller(SMALL_VAE.latent_channels + units),
        search=SearchConfig(generations=30, population=24, num_starts=32, check_every=10),
        rounds=RoundsConfig(
            horizons=(100, 200, 300, *[400] * 11),
            episodes_per_round=32,
            noisy_share=0.2,
            leaning_share=0.2,
            shaken_share=0.25,
            check_episodes=4,
            check_candidates=3,
            vae_rounds=0,
            ends_at=480.0,
            confirm_episodes=30,
        ),
        score=ScoreConfig(temperatures=(0.5, 1.0, 1.15)),
        exports_dataset=True,
    )


def debug(tasks: tuple[str, ...] = ()) -> ClassicRunConfig:
    """The twin of ``cartpole-dream``: every part for three steps, in seconds on one core.

    Run with ``reverie train cartpole-dream-debug``. It proves that the parts work together and
    says nothing of quality.
    """
    config = cartpole_dream(tasks)
    fit = FitConfig(total_steps=3, log_every_steps=1, save_every_steps=1)
    vae_training = replace(config.vae_training, fit=fit, batch_size=8, num_component_stacks=64)
    rnn_training = replace(config.rnn_training, fit=fit, batch_size=4, window_length=24)
    return replace(
        config,
        recipe="cartpole-dream-debug",
        data=_data(tasks, episodes=8, size_px=32),
        vae_training=vae_training,
        vae_refresh=vae_training,
        rnn=_rnn(SMALL_VAE.latent_channels, 8),
        rnn_training=rnn_training,
        rnn_refresh=rnn_training,
        controller=_controller(SMALL_VAE.latent_channels + 8),
        search=SearchConfig(
            generations=3,
            population=14,
            num_starts=2,
            start_context=4,
            check_every=2,
            save_every=1,
        ),
        rounds=RoundsConfig(
            horizons=(3, 4),
            episodes_per_round=4,
            check_episodes=2,
            check_candidates=3,
            max_collect_steps=30,
        ),
        score=ScoreConfig(
            episodes=4, side_by_side=4, drift_starts=20, drift_horizon=4, imagined_rollouts=2
        ),
        limit_episodes=6,
    )


def _data(tasks: tuple[str, ...], *, episodes: int, size_px: int) -> CollectOrder:
    return CollectOrder(
        tasks=tasks or (TASK,),
        policies={"random": 1.0},
        episodes_per_task=episodes,
        frame=FrameSpec(height_px=size_px, width_px=size_px),
        codec="zstd",
    )


def _vae_training(*, steps: int, lr: float) -> VaeTrainingConfig:
    return VaeTrainingConfig(
        fit=FitConfig(total_steps=steps, log_every_steps=100, save_every_steps=0),
        optim=OptimConfig(
            lr=lr,
            schedule="linear",
            warmup_share=_VAE_WARMUP_STEPS / steps,
            floor=0.02,
            beta2=0.99,
        ),
        objective=VaeObjectiveConfig(pixel_std=_PIXEL_STD, kl_warmup_steps=_VAE_WARMUP_STEPS),
        batch_size=64,
    )


def _rnn(latent_channels: int, units: int) -> MdnRnnConfig:
    return MdnRnnConfig(
        latent_channels=latent_channels,
        action_width=1,
        num_units=units,
        num_components=1,
        has_end=True,
        has_reward=True,
        is_binary_action=True,
        has_linear_step=True,
    )


def _rnn_training(*, steps: int, lr: float) -> RnnTrainingConfig:
    return RnnTrainingConfig(
        fit=FitConfig(total_steps=steps, log_every_steps=100, save_every_steps=0),
        optim=OptimConfig(lr=lr, schedule="linear", warmup_share=0.02, floor=0.02, beta2=0.99),
        batch_size=128,
        window_length=28,
        objective=MdnRnnObjectiveConfig(free_steps=16),
    )


def _dream(tasks: tuple[str, ...]) -> ClassicConfig:
    names = tasks or (TASK,)
    return ClassicConfig(tasks=names, terminating_tasks=names)


def _controller(num_features: int) -> ControllerConfig:
    return ControllerConfig(num_features=num_features, action_map="binary")
