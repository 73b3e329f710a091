"""Errors that a user can cause. Each message says what was given, what was expected, what to do."""


class ReverieError(Exception):
    """Base of every error that Reverie raises on purpose; the CLI prints its text on one line."""


class ConfigError(ReverieError, ValueError):
    """A configuration value, or a combination of values, that cannot work."""


class UnknownNameError(ReverieError, KeyError):
    """A name that is not in a registry."""

    def __str__(self) -> str:
        """Return the message itself: KeyError would quote it."""
        return str(self.args[0])


class DataError(ReverieError):
    """Episode data that is missing, truncated, corrupt or of another version."""


class CheckpointError(ReverieError):
    """A checkpoint folder that is missing, incomplete, corrupt or of another kind."""


class ShapeError(ReverieError, ValueError):
    """An array of the wrong shape, dtype or range at a border that users reach."""


class MissingExtraError(ReverieError, ImportError):
    """An optional dependency that the asked-for feature needs is not installed."""


class StaleStateError(ReverieError, RuntimeError):
    """A rollout state whose cache has moved on; fork before stepping a second time."""


class PortInUseError(ReverieError, OSError):
    """The address that a server was asked to listen on is taken."""


class MissingDriverError(ReverieError, RuntimeError):
    """A system library, such as a graphics driver, that a simulator needs is not there."""


class MissingAssetError(ReverieError, FileNotFoundError):
    """Files that a task needs from a hub are not on this machine; the text says how to fetch."""


class MissingSimulatorError(ReverieError, NotImplementedError):
    """A task that is listed, but whose simulator this version does not bring."""
