"""The errors a user sees: one clear line that says what was wrong and what to do."""


class QuadloopError(Exception):
    """Base of every expected failure. The command line prints `str(error)` on one line and exits with `exit_status`."""

    exit_status = 1


class UsageError(QuadloopError):
    """A command line that does not fit its verb."""

    exit_status = 2


class ConfigError(QuadloopError):
    """A config file or an override that does not fit the config it is meant for."""


class MissingExtraError(QuadloopError):
    """An optional part of the installation that a command needs is absent."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"'{package}' is not installed; run: pip install 'quadloop[{extra}]'")
