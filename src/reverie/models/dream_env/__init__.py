"""Dreams as environments: for anything that learns from a Gymnasium environment."""
