"""Every recipe by name, and its debug twin; nothing is imported before a name is asked for."""

from reverie.core.registry import Registry
from reverie.recipes.base import Recipe

RECIPES = Registry("recipe", "Known recipes: pocket, pocket-debug")
RECIPES.add("pocket", "reverie.recipes.pocket:pocket")
RECIPES.add("pocket-debug", "reverie.recipes.pocket:debug")


def load_recipe(name: str) -> Recipe:
    """Import a recipe; a misspelt name is answered with a suggestion."""
    return RECIPES.load(name)
