"""Reverie: world models that know when they dream wrong."""

__version__ = "0.1.0"
