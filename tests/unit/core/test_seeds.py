import numpy as np

from reverie.core.seeds import child_seed, numpy_rng


def test_a_child_seed_never_changes_between_versions() -> None:
    assert child_seed(7, "collect", "pygame-pong", 17) == 6086295267371878159
    assert child_seed(0) == 4246866556266386882


def test_children_with_different_paths_differ() -> None:
    paths = [("a",), ("b",), ("a", "b"), ("a", 1), (1,), ()]
    seeds = [child_seed(3, *path) for path in paths]
    assert len(set(seeds)) == len(paths)
    assert child_seed(4, "a") != child_seed(3, "a")


def test_child_seeds_fit_every_generator() -> None:
    assert all(0 <= child_seed(root, "x") < 2**63 for root in range(200))


def test_the_same_path_gives_the_same_numbers() -> None:
    first, again = numpy_rng(5, "noise").random(4), numpy_rng(5, "noise").random(4)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, numpy_rng(5, "other").random(4))
