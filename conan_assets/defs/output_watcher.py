"""Ends the process that copies a run's output when the run has died, as Dagster's own watcher does, but not at Ctrl-C.

A script: ``output_watcher.py PID_OF_THE_RUN PID_OF_THE_COPIER``. Dagster's prints a traceback for every one at Ctrl-C.
"""

import contextlib
import os
import signal
import sys
import time

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run, copier = map(int, sys.argv[1:])
    while os.getppid() == run:
        time.sleep(1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(copier, signal.SIGTERM)
