"""What the fetcher's processes have in common: settings, logs, signals, a verdict, an exit code."""

import logging
from collections.abc import Callable

from sd_operator import log as logs
from sd_operator.fetch import errors, settings, verdict
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.verdict import Kept, Verified

log = logging.getLogger(__name__)


def run(work: Callable[[Settings, Stop], Verified | Kept]) -> int:
    """Do the work; tell what became of it; the exit code for it."""
    stop = Stop()
    stop.install()
    logs.configure("INFO")
    # It logs every address at INFO, with signatures and tokens in it.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    report = settings.Report()
    outcome = _outcome(work, stop)
    if isinstance(outcome, FetchError):
        log.error("%s: %s", outcome.reason, outcome.message)
    elif isinstance(outcome, Verified):
        log.info("verified %s: %d bytes, sha256 %s", outcome.path, outcome.size, outcome.sha256)
    try:
        verdict.write(report.verdict, outcome)
    except OSError as error:
        # The exit code still tells the Job what to do.
        log.error("the verdict could not be written to %s: %s", report.verdict, error)
    return verdict.exit_code(outcome)


def _outcome(work: Callable[[Settings, Stop], Verified | Kept], stop: Stop) -> Verified | Kept | FetchError:
    try:
        known = settings.read()
        logging.getLogger("sd_operator").setLevel(known.log_level)
        return work(known, stop)
    except FetchError as error:
        return error
    # Nobody foresaw it. A verdict all the same: without one the pod's end explains nothing.
    except Exception as error:
        log.exception("the fetcher failed in a way that nobody foresaw")
        return FetchError(
            errors.SERVER_ERROR,
            f"the fetcher failed in a way that nobody foresaw ({type(error).__name__}); "
            "the log of its pod says more",
            retryable=True,
        )
