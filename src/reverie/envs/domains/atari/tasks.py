"""The table of the Atari domain. No simulator is imported here."""

from dataclasses import dataclass

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class AtariGame:
    """One cartridge, and the game scores that count as 0 and as 1."""

    name: str
    rom: str
    """File name of the ROM in the ALE package, without its ending."""
    low: int
    high: int
    instruction: str


GAMES = (
    AtariGame("alien", "alien", 0, 1000, "Escape the maze and eliminate aliens"),
    AtariGame("assault", "assault", 0, 1000, "Destroy enemy bases and dodge projectiles"),
    AtariGame("asterix", "asterix", 0, 5000, "Collect food and avoid Roman guards"),
    AtariGame("atlantis", "atlantis", 0, 50000, "Defend the city from invading aircraft"),
    AtariGame("bank-heist", "bank_heist", 0, 1000, "Rob banks and escape the police"),
    AtariGame("battle-zone", "battle_zone", 0, 15000, "Destroy enemy tanks from your tank"),
    AtariGame("beamrider", "beam_rider", 0, 2000, "Shoot alien ships and avoid obstacles"),
    AtariGame(
        "boxing", "boxing", -100, 100, "Punch the opponent and score points in a boxing match"
    ),
    AtariGame(
        "chopper-command", "chopper_command", 0, 1000, "Protect trucks by shooting enemy aircraft"
    ),
    AtariGame(
        "crazy-climber",
        "crazy_climber",
        0,
        20000,
        "Climb the skyscraper and avoid falling hazards",
    ),
    AtariGame("double-dunk", "double_dunk", 0, 25, "Score baskets in half-court basketball"),
    AtariGame("gopher", "gopher", 0, 2000, "Protect crops by blocking the gopher"),
    AtariGame("ice-hockey", "ice_hockey", -15, 15, "Score goals in a game of ice hockey"),
    AtariGame("jamesbond", "jamesbond", 0, 1000, "Rescue hostages and destroy enemy bases"),
    AtariGame("kangaroo", "kangaroo", 0, 10000, "Rescue your child while avoiding monkeys"),
    AtariGame("krull", "krull", 0, 10000, "Defeat enemies and rescue the princess"),
    AtariGame(
        "ms-pacman", "ms_pacman", 0, 5000, "Eat pellets and avoid ghosts in a game of Ms. Pacman"
    ),
    AtariGame(
        "name-this-game",
        "name_this_game",
        0,
        3000,
        "Collect treasure and avoid sea creatures",
    ),
    AtariGame("phoenix", "phoenix", 0, 1000, "Shoot alien birds and destroy the mothership"),
    AtariGame("pong", "pong", -21, 21, "Score against an opponent in a game of Pong"),
    AtariGame("road-runner", "road_runner", 0, 50000, "Collect bird seed and avoid the coyote"),
    AtariGame("robotank", "robotank", 0, 50, "Eliminate enemy tanks in battle"),
    AtariGame("seaquest", "seaquest", 0, 5000, "Rescue divers and fight underwater enemies"),
    AtariGame(
        "space-invaders",
        "space_invaders",
        0,
        2000,
        "Shoot alien waves before they land in a game of Space Invaders",
    ),
    AtariGame("tutankham", "tutankham", 0, 100, "Collect treasures and avoid tomb enemies"),
    AtariGame("upndown", "up_n_down", 0, 5000, "Collect flags and avoid crashing cars"),
    AtariGame(
        "yars-revenge",
        "yars_revenge",
        0,
        20000,
        "Destroy the Qotile while avoiding its weapon",
    ),
)


def _score_rule(game: AtariGame) -> str:
    if game.low == 0:
        return f"clip(return / {game.high}, 0, 1)"
    return f"clip((return + {-game.low}) / {game.high - game.low}, 0, 1)"


TASKS = tuple(
    TaskSpec(
        name=f"atari-{game.name}",
        domain="atari",
        instruction=game.instruction,
        action=ActionSpec(width=3),
        action_names=("tilt the stick", "turn the stick", "fire"),
        max_steps=1000,
        action_repeat=4,
        score_rule=_score_rule(game),
        has_random_start=False,
        extra="atari",
        factory="reverie.envs.domains.atari.make:make_env",
        expert="reverie.envs.domains.atari.make:make_expert",
    )
    for game in GAMES
)
