"""What a run of the classic family is: one frozen config, from collection to the real score."""

from dataclasses import dataclass
from pathlib import Path

from reverie.collect.order import CollectOrder
from reverie.core.config import added
from reverie.core.errors import ConfigError
from reverie.envs.registry import task_spec
from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.mdn_rnn import MdnRnnConfig
from reverie.models.classic.vae import VaeConfig
from reverie.models.classic.world import ClassicConfig
from reverie.train.classic import RnnTrainingConfig, VaeTrainingConfig
from reverie.train.controller import SearchConfig
from reverie.train.student import StudentConfig, check_student


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundsConfig:
    """Dream, look, collect, learn again: what one round does, and how many there are."""

    horizons: tuple[int, ...] = (30, 55, 80, 100)
    """Length of the dreams of each round; as many rounds as lengths."""
    episodes_per_round: int = 40
    """Real episodes that the controller collects after each round but the last."""
    random_share: float = 0.1
    """Chance of a random action while it collects."""
    noisy_share: float = 0.25
    """Share of those episodes that act at random half the time: they show the ways to fall."""
    leaning_share: float = added(0.0)
    """Share of those episodes whose random actions push to one side for a while: they show places
    that a controller which stands well never gets to."""
    shaken_share: float = added(0.0)
    """Share of those episodes that are played by controllers near the present one: the search asks
    M about controllers, and M misjudges those that nobody has played."""
    shaken_std: float = added(0.3)
    """Std of what is added to a shaken controller's weights, in units of their root mean square."""
    max_collect_steps: int = 500
    vae_rounds: int = 1
    """After how many of the first rounds V learns on; then it is frozen for good."""
    check_episodes: int = 10
    """Real episodes of each look; none of them is learned from."""
    max_look_steps: int = 1_000_000
    """Steps after which an episode of a look is cut; the task's own limit counts too."""
    check_candidates: int = 6
    """Candidates of the generation that are played too, for the correlation within one."""
    ends_at: float | None = None
    """A look that reaches this return ends its round's search, and no further round follows if the
    controller reaches it again over ``confirm_episodes``: by its mean less one standard error, for
    the luckiest of many looks is not the best. None goes through all rounds."""
    confirm_episodes: int = 20

    def __post_init__(self) -> None:
        """Refuse runs without rounds."""
        counts = (*self.horizons, self.episodes_per_round, self.check_episodes)
        if not self.horizons or min(counts) < 1:
            raise ConfigError(f"Rounds need horizons and episodes of at least 1, got {counts}.")
        shares = (self.noisy_share, self.leaning_share, self.shaken_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ConfigError(
                f"noisy_share, leaning_share and shaken_share are parts of a round's episodes, "
                f"each at least 0, together at most 1; got {shares}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """What is measured at the end."""

    episodes: int = 100
    max_steps: int = 1_000_000
    """Steps after which an episode is cut; the task's own limit counts too."""
    side_by_side: int = 50
    """Episodes that run at once."""
    drift_starts: int = 300
    drift_horizon: int = 30
    imagined_rollouts: int = 30
    """Dreams that are kept, as episodes and as a picture."""
    temperatures: tuple[float, ...] = (1.0,)
    """Temperatures at which the final controller's dream return is reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassicRunConfig:
    """A whole run of V, M and C."""

    recipe: str
    seed: int = 0
    data: CollectOrder
    """What the first round learns from."""
    mirror: tuple[float, ...] = added(())
    """Where the task looks the same in a mirror: the sign that each lane of the action takes there,
    such as -1 for steering. V and M then see each episode a second time, turned left to right.
    () turns nothing."""
    vae: VaeConfig
    vae_training: VaeTrainingConfig
    vae_refresh: VaeTrainingConfig
    """How V learns on in later rounds."""
    rnn: MdnRnnConfig
    rnn_training: RnnTrainingConfig
    rnn_refresh: RnnTrainingConfig
    """How M learns on in later rounds."""
    dream: ClassicConfig
    controller: ControllerConfig
    search: SearchConfig
    rounds: RoundsConfig
    score: ScoreConfig
    student: StudentConfig | None = None
    """PPO in the dream instead of CMA-ES; the search's settings then only place its starts."""
    exports_dataset: bool = False
    """Whether all real episodes are written as a Hugging Face dataset too, at the end."""
    limit_episodes: int = added(24)
    """Fresh episodes that the limits of the page's readings are fitted on; 0 fits none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassicPlaces:
    """What lies where in a run's folder."""

    root: Path

    @property
    def data(self) -> Path:
        """All episodes, those of later rounds included."""
        return self.root / "data"

    def part(self, round_index: int, name: str) -> Path:
        """Folder of one part of one round."""
        return self.root / "rounds" / f"{round_index:02d}" / name

    @property
    def dataset(self) -> Path:
        """All real episodes once more, for Hugging Face's ``datasets``."""
        return self.root / "dataset"

    @property
    def model(self) -> Path:
        """The dream and its controller."""
        return self.root / "model"

    @property
    def report(self) -> Path:
        """What was measured at the end."""
        return self.root / "report"


def check_classic_run(config: ClassicRunConfig) -> None:
    """Refuse parts that do not fit each other.

    Raises:
        ConfigError: Says which settings disagree and what to set.
    """
    if len(config.data.tasks) != 1 or config.dream.tasks != config.data.tasks:
        raise ConfigError(
            f"A classic run learns one task, and the dream is of that task; got "
            f"{config.data.tasks} and {config.dream.tasks}."
        )
    if config.vae.latent_channels != config.rnn.latent_channels:
        raise ConfigError(
            f"V makes {config.vae.latent_channels} channels, M reads "
            f"{config.rnn.latent_channels}. Set both latent_channels alike."
        )
    size = (config.data.frame.height_px, config.data.frame.width_px)
    if size != (config.vae.frame_px, config.vae.frame_px):
        raise ConfigError(
            f"The data has frames of {size[0]}x{size[1]}, V reads {config.vae.frame_px} px. Set "
            f"data.frame.height_px, data.frame.width_px and vae.frame_px alike."
        )
    lanes = 2 if config.dream.reads_cell else 1
    features = config.vae.latent_channels + lanes * config.rnn.num_units
    if config.controller.num_features != features:
        raise ConfigError(
            f"The dream shows {features} features, the controller reads "
            f"{config.controller.num_features}. Set controller.num_features={features}."
        )
    if config.student is not None:
        check_student(config.controller)
        if config.search.steers_by_more:
            raise ConfigError(
                "PPO dreams plainly: search.ground_every and search.trust.steps steer CMA-ES only. "
                "Set both to 0, or train a recipe without a student."
            )
    native = task_spec(config.data.tasks[0]).action.width
    if native != config.rnn.action_width or native != config.controller.num_outputs:
        raise ConfigError(
            f"'{config.data.tasks[0]}' takes {native} lanes, M reads {config.rnn.action_width} "
            f"and C gives {config.controller.num_outputs}. Set all three alike."
        )
    if config.mirror and len(config.mirror) != native:
        raise ConfigError(
            f"'{config.data.tasks[0]}' takes {native} lanes, and mirror has the signs of "
            f"{len(config.mirror)}. Give one sign per lane, or () to turn nothing."
        )
