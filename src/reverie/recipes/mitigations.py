"""What the study of mitigations compares: one round of ``cartpole-dream``, and changes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reverie.core.config import override
from reverie.core.errors import ConfigError
from reverie.core.registry import keep_named
from reverie.recipes import cartpole
from reverie.recipes.classic_base import ClassicRunConfig, RoundsConfig, check_classic_run
from reverie.train.trust import TrustConfig

BASELINE = "baseline"
Settings = Mapping[str, Any]
"""Fields of the run by dotted path, as ``reverie train --set`` takes them."""


def make_arms(*, ground_every: int = 16, trust_steps: int = 600) -> dict[str, Settings]:
    """Return the arms: one mitigation each, and the two of the specification's extension 3."""
    contrast = {
        "rnn_training.objective.contrast_weight": 0.1,
        "rnn_training.objective.contrast_steps": 3,
    }
    trust = {"search.trust.steps": trust_steps}
    return {
        BASELINE: {},
        "contrast": contrast,
        "contrast of 1 step": {"rnn_training.objective.contrast_weight": 0.1},
        "norm fine": {"search.norm_fine": 0.01},
        "latent dropout": {"rnn_training.objective.latent_dropout": 0.1},
        "grounding": {"search.ground_every": ground_every},
        "trust": trust,
        "contrast and trust": {**contrast, **trust},
        "temperature 0.5": {"dream.temperature": 0.5},
        "temperature 1.15": {"dream.temperature": 1.15},
    }


def choose_arms(arms: Mapping[str, Settings], names: Sequence[str]) -> dict[str, Settings]:
    """Keep the baseline and the named arms; no name keeps all.

    Raises:
        UnknownNameError: There is no such arm.
    """
    hint = f"The arms are: {', '.join(arms)}"
    return keep_named("arm", arms, names, always=BASELINE, hint=hint)


def study_run() -> ClassicRunConfig:
    """Return a round of ``cartpole-dream`` without mitigations, at a scale for many arms.

    M still dreams the last steps of its training windows, as the recipe's does.
    """
    config = cartpole.cartpole_dream()
    fit = replace(config.rnn_training.fit, total_steps=800)
    return replace(
        config,
        recipe="mitigation-study",
        data=replace(config.data, episodes_per_task=900),
        rnn_training=replace(config.rnn_training, fit=fit),
        search=replace(config.search, norm_fine=0.0, check_every=10, newest_share=0.0),
        rounds=RoundsConfig(horizons=(100,), check_episodes=6, check_candidates=9, vae_rounds=0),
        # Few random episodes go on for longer: with a handful alive the floor drowns everything.
        score=replace(config.score, drift_horizon=15),
        exports_dataset=False,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MitigationStudy:
    """A run, and what is changed in it."""

    run: ClassicRunConfig = field(default_factory=study_run)
    """One round: its horizons and later rounds are not used."""
    arms: Mapping[str, Settings] = field(default_factory=make_arms)
    horizons: tuple[int, ...] = (100,)
    """Lengths of the dreams in which controllers are searched for."""
    num_seeds: int = 5
    """Of V, M, search and score; the data are the same for all."""
    held_out: int = 100
    """Episodes that nothing learns from; drift and dream returns are measured on them."""

    def __post_init__(self) -> None:
        """Refuse studies that have nothing to compare with, and arms that would not be paired."""
        if BASELINE not in self.arms or not self.horizons or min(*self.horizons, 1) < 1:
            raise ConfigError(
                f"A study of mitigations needs the arm '{BASELINE}' and horizons of at least 1, "
                f"got {tuple(self.arms)} and {self.horizons}."
            )
        if self.num_seeds < 1 or self.held_out < 2:
            raise ConfigError(
                f"A study needs a seed and two held-out episodes, got {self.num_seeds} and "
                f"{self.held_out}."
            )
        if self.run.student is not None:
            raise ConfigError("Mitigations are studied with CMA-ES. Choose a run without student.")
        shared = ("data", "vae", "vae_training", "rnn", "controller", "score")
        for name, settings in self.arms.items():
            config = override(self.run, dict(settings))
            check_classic_run(config)
            moved = [part for part in shared if getattr(config, part) != getattr(self.run, part)]
            if moved:
                raise ConfigError(
                    f"The arm '{name}' changes {', '.join(moved)}, which all arms share. Change it "
                    f"in the run instead."
                )


def debug_study() -> MitigationStudy:
    """Return the study's twin: every arm for some steps, in seconds; it says nothing of quality."""
    config = cartpole.debug()
    fit = replace(config.rnn_training.fit, total_steps=3)
    run = replace(
        config,
        recipe="mitigation-study-debug",
        data=replace(config.data, episodes_per_task=12),
        rnn_training=replace(config.rnn_training, fit=fit),
        search=replace(
            config.search, norm_fine=0.0, newest_share=0.0, trust=TrustConfig(horizon=4)
        ),
        exports_dataset=False,
    )
    return MitigationStudy(
        run=run,
        arms=make_arms(ground_every=1, trust_steps=3),
        horizons=(4,),
        num_seeds=2,
        held_out=4,
    )
