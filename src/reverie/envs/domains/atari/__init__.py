"""Atari 2600 games under three continuous lanes: radius, direction, fire."""
