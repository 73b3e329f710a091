"""Every recipe by name, and its debug twin; nothing is imported before a name is asked for."""

from reverie.core.registry import Registry
from reverie.recipes.base import Recipe

RECIPES = Registry("recipe", "Known recipes: pocket, pocket-gpu, pocket-debug, pocket-gpu-debug")
RECIPES.add("pocket", "reverie.recipes.pocket:pocket")
RECIPES.add("pocket-gpu", "reverie.recipes.pocket:pocket_gpu")
RECIPES.add("pocket-debug", "reverie.recipes.pocket:debug")
RECIPES.add("pocket-gpu-debug", "reverie.recipes.pocket:pocket_gpu_debug")


def load_recipe(name: str) -> Recipe:
    """Import a recipe; a misspelt name is answered with a suggestion."""
    return RECIPES.load(name)
