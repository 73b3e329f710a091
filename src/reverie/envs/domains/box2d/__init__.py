"""Box2D: bipedal walkers on five terrains and lunar landers with three goals."""
