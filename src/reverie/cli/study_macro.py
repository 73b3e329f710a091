"""``reverie study macro``: for how many macro steps do dreams match real play?"""

from pathlib import Path

from reverie.cli.train import Terminal


def macro(
    model: str,
    /,
    *,
    rollouts: int = 1000,
    steps: int = 100,
    moves: int = 2,
    temperature: float | None = None,
    seed: int = 0,
    out: Path = Path("runs/study-macro"),
) -> None:
    """Let a model's controller decide several moves at once, for real and in the dream.

    Both begin at the same starts. Per macro step: the share alive, and the divergence of the
    latents beside its floor; the headline is the first macro step at which dreams no longer match.

    Example: reverie study macro runs/cartpole-dream/model --rollouts 200

    Args:
        model: A classic model with a controller: a name or a folder.
        rollouts: Real episodes, and dreams.
        steps: Macro steps per rollout.
        moves: Steps of the simulator per macro step.
        temperature: Of the dream; the model's own by default.
        seed: Root of everything drawn.
        out: Folder of macro.json and macro.md.
    """
    from reverie.models.load import resolve_model
    from reverie.planning.macros import MacroConfig
    from reverie.recipes.macro_study import MacroStudy, study_macros, table

    study = MacroStudy(
        macro=MacroConfig(moves=moves, num_steps=steps),
        rollouts=rollouts,
        temperature=temperature,
        seed=seed,
    )
    with Terminal() as terminal:
        drift = study_macros(resolve_model(model), study, out, audience=terminal)
    print(table(drift, study))


COMMANDS = {"macro": macro}
