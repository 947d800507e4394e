"""Recipes: the options of published experiments, a TOML file each, with what differs from the publication."""

from .recipe import Recipe, recipe, recipes

__all__ = ["Recipe", "recipe", "recipes"]
