"""Write requirements.lock: every package that this environment uses for Reverie, pinned.

Run it in ``.venv`` after installing the wanted versions: python tools/lock.py
"""

import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

# All of them: tests, demo, training and every simulator live in one environment.
EXTRAS = (
    "play",
    "serve",
    "eval",
    "es",
    "rl",
    "torchrl",
    "hub",
    "data",
    "diffusers",
    "ray",
    "text",
    "sim",
    "minari",
    "dev",
)
# Packages that must not stand beside the one that brings the same modules.
REPLACED = {"opencv-python": "opencv-python-headless", "pygame": "pygame-ce"}
# The package is built without an isolated environment, so that setup needs nothing else.
BUILD = ("setuptools",)


def pinned(root_name: str = "reverie") -> dict[str, str]:
    """Follow the requirements of the package through what is installed: name → version."""
    versions: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(root_name, frozenset(EXTRAS))]
    waiting += [(name, frozenset()) for name in BUILD]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        name, extras = item
        name = REPLACED.get(name, name)
        package = distribution(name)
        # A local suffix such as +cpu says where a wheel came from, not which version it is.
        versions[name] = Version(package.version).public
        for text in package.requires or []:
            requirement = Requirement(text)
            if _applies(requirement, extras):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    versions.pop(root_name)
    return versions


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def main() -> int:
    """Write the lock beside pyproject.toml."""
    path = Path(__file__).resolve().parents[1] / "requirements.lock"
    lines = [f"{name}=={version}" for name, version in sorted(pinned().items())]
    head = (
        "# Written by tools/lock.py. One set for tests, demo and training; see CONTRIBUTING.md.\n"
    )
    path.write_text(head + "\n".join(lines) + "\n")
    print(f"{path.name}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
