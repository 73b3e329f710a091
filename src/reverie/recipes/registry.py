"""Every recipe by name, and its debug twin; nothing is imported before a name is asked for."""

from collections.abc import Callable
from typing import Any

from reverie.core.registry import Registry

RECIPES = Registry(
    "recipe",
    "Known recipes: pocket, pocket-gpu, domains, small, full, release, cartpole-dream, "
    "takecover-dream, takecover-laptop, carracing, carracing-laptop, and each with -debug behind "
    "it",
)
RECIPES.add("pocket", "reverie.recipes.pocket:pocket")
RECIPES.add("pocket-gpu", "reverie.recipes.pocket:pocket_gpu")
RECIPES.add("domains", "reverie.recipes.domains:domains")
RECIPES.add("domains-debug", "reverie.recipes.domains:debug")
RECIPES.add("pocket-debug", "reverie.recipes.pocket:debug")
RECIPES.add("pocket-gpu-debug", "reverie.recipes.pocket:pocket_gpu_debug")
RECIPES.add("small", "reverie.recipes.large:small")
RECIPES.add("small-debug", "reverie.recipes.large:small_debug")
RECIPES.add("full", "reverie.recipes.large:full")
RECIPES.add("full-debug", "reverie.recipes.large:full_debug")
RECIPES.add("release", "reverie.recipes.large:release")
RECIPES.add("release-debug", "reverie.recipes.large:release_debug")
RECIPES.add("cartpole-dream", "reverie.recipes.cartpole:cartpole_dream")
RECIPES.add("cartpole-dream-debug", "reverie.recipes.cartpole:debug")
RECIPES.add("cartpole-student", "reverie.recipes.cartpole_student:cartpole_student")
RECIPES.add("cartpole-student-debug", "reverie.recipes.cartpole_student:debug")
RECIPES.add("takecover-dream", "reverie.recipes.world_models:takecover_dream")
RECIPES.add("takecover-dream-debug", "reverie.recipes.world_models:takecover_debug")
RECIPES.add("takecover-laptop", "reverie.recipes.world_models:takecover_laptop")
RECIPES.add("takecover-laptop-debug", "reverie.recipes.world_models:takecover_laptop_debug")
RECIPES.add("carracing", "reverie.recipes.world_models:carracing")
RECIPES.add("carracing-debug", "reverie.recipes.world_models:carracing_debug")
RECIPES.add("carracing-laptop", "reverie.recipes.world_models:carracing_laptop")
RECIPES.add("carracing-laptop-debug", "reverie.recipes.world_models:carracing_laptop_debug")

RUNNERS = Registry("kind of run", "Recipes return one of these")
"""What checks and what runs each kind of config."""
RUNNERS.add("RunConfig", "reverie.recipes.training:RUNNER")
RUNNERS.add("ClassicRunConfig", "reverie.recipes.classic_training:RUNNER")


def load_runner(config: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Import what checks a config, and what runs it: called with (config, around, num_workers=)."""
    return RUNNERS.load(type(config).__name__)


def load_recipe(name: str) -> Callable[[tuple[str, ...]], Any]:
    """Import a recipe; a misspelt name is answered with a suggestion."""
    return RECIPES.load(name)
