"""Commands that end in every way a command can."""

from reverie.core.errors import ConfigError


def succeed() -> str:
    """Return something that is no exit code."""
    print("done")
    return "report"


def find_fault() -> int:
    """End with an exit code of its own."""
    return 1


def refuse(*, width: int = 3) -> None:
    """Raise what a user can cause."""
    raise ConfigError(f"width must be even, got {width}.\nTry 4.")


def be_interrupted() -> None:
    """Be stopped by Ctrl-C."""
    raise KeyboardInterrupt


def have_a_bug() -> None:
    """Raise what only we can cause."""
    raise AssertionError("impossible")


COMMANDS = {"list": succeed}
