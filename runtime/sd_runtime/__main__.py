"""`python -m sd_runtime` and the command `sd-runtime`: hears SIGTERM and Ctrl-C from the first moment, then
becomes the process."""

import signal
import sys


def main() -> None:
    """Ends with the process's exit status."""
    # A container's first process is not ended by a signal without a handler, and the imports take
    # seconds: a pod that is deleted just then would stay for its whole grace period.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    from sd_runtime import process

    sys.exit(process.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
