"""Checks of this repository that ``make check`` runs; each is also a test."""
