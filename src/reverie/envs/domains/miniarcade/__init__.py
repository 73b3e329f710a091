"""Small 2-D games: the pygame domain of the MMBench2 benchmark, drawn pixel for pixel."""
