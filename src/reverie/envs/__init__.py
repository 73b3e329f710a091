"""Simulators behind one interface. Nothing here imports torch."""
