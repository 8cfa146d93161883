"""One family of errors: each says what was seen, what was expected, and what to do."""


class FairshareError(Exception):
    """Root of every error that this project raises on purpose."""


class ConfigError(FairshareError):
    """A setting is out of range, unknown, or at odds with another one."""
