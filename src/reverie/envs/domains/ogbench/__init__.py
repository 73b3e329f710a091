"""OGBench: a point and an ant in mazes, an ant that runs, an ant that plays ball."""
