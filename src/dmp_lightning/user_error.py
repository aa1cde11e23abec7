"""The errors that are a user's to mend: one sentence that names the thing and the remedy, shown without a stack."""


class UserError(ValueError):
    """A wrong setting, file or argument. Every other exception is a bug, and keeps its stack."""


class MissingFileError(UserError, FileNotFoundError):
    """A file that has to be there, or be made first, is not."""


class UnwritableError(UserError, OSError):
    """A file cannot be written: the disk is full, or the folder is not ours to write to."""
