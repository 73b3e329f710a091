"""Layers: attention, feed-forward blocks, norms, caches, output distributions."""
