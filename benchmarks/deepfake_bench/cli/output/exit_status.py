"""Exit statuses of ``dfbench``. They mean the same in every command; ``docs/commands.md`` lists them by command."""

from __future__ import annotations

import enum


class ExitStatus(enum.IntEnum):
    """Exit status of the process, besides 0, which means that the command did what it was asked to do.

    Attributes:
        FAILED: The command went through all of its work, and its output reports a failure or a regression: a
            measurement failed, a model could not be built, or a figure got worse.
        REJECTED: The command line is wrong, or what it names is not accepted: a file that does not exist, a dataset
            that is not fit for use, a damaged registry, a missing signature, a model that misses its targets, or a
            standard output that cannot be written.
        NOTHING_PROCESSED: None of the given files could be processed.
        INTERRUPTED: The user pressed Ctrl-C; this is what shells return after SIGINT.
        READER_GONE: The program that reads standard output through a pipe, such as ``head``, has ended; this is what
            shells return after SIGPIPE.
    """

    FAILED = 1
    REJECTED = 2
    NOTHING_PROCESSED = 3
    INTERRUPTED = 130
    READER_GONE = 141
