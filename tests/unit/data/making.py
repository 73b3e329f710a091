"""Small episodes with recognisable contents."""

import numpy as np

from reverie.core.types import Episode


def make_episode(
    *,
    steps: int,
    height: int = 12,
    width: int = 20,
    lanes: int = 3,
    seed: int = 0,
    task: str = "task-a",
    source: str = "random",
    terminated: bool = False,
) -> Episode:
    """Make an episode of random content; every byte depends on the seed."""
    rng = np.random.default_rng(seed)
    return Episode(
        frames=rng.integers(0, 256, (steps + 1, height, width, 3), dtype=np.uint8),
        actions=rng.uniform(-1, 1, (steps, lanes)).astype(np.float32),
        rewards=rng.normal(size=steps).astype(np.float32),
        terminated=terminated,
        task=task,
        source=source,
        seed=seed,
        score=0.25,
        behaviours=tuple("ab"[step % 2] for step in range(steps)),
        parameters={"sigma": 0.5, "kinds": ["x"]},
    )


def assert_same_episode(one: Episode, other: Episode) -> None:
    """Compare every field."""
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(one.rewards, other.rewards)
    for name in ("terminated", "task", "source", "seed", "score", "behaviours"):
        assert getattr(one, name) == getattr(other, name), name
    assert dict(one.parameters) == dict(other.parameters)
