"""The error that a user is meant to read, and the system errors that stand for a full disk."""

import errno


class UserError(Exception):
    """Bad input: the message is one line that names the file, key or setting and says what to do.

    The command line prints it without a traceback and exits with code 2.
    """


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk; `reproduce.exits` has a line for it."""
