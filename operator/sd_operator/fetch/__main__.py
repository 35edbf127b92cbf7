"""`python -m sd_operator.fetch`: one file, as the environment says; a verdict; an exit code."""

import logging
import sys

from sd_operator import log as logs
from sd_operator.fetch import download, errors, request, settings, sources, task, verdict
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.patience import Patience
from sd_operator.fetch.stopping import Stop

log = logging.getLogger("sd_operator.fetch")


def main() -> int:
    stop = Stop()
    stop.install()
    logs.configure("INFO")
    # It logs every address at INFO, with signatures and tokens in it.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    report = settings.Report()
    outcome = _outcome(stop)
    if isinstance(outcome, FetchError):
        log.error("%s: %s", outcome.reason, outcome.message)
    else:
        log.info("verified %s: %d bytes, sha256 %s", outcome.path, outcome.size, outcome.sha256)
    try:
        verdict.write(report.verdict, outcome)
    except OSError as error:
        # The exit code still tells the Job what to do.
        log.error("the verdict could not be written to %s: %s", report.verdict, error)
    return verdict.exit_code(outcome)


def _outcome(stop: Stop) -> verdict.Verified | FetchError:
    try:
        known = settings.read()
        logging.getLogger("sd_operator").setLevel(known.log_level)
        wanted = request.parse(known.file)
        source = sources.locate(wanted.file.source, hf_endpoint=known.hf_endpoint)
        if not known.root.is_dir():
            raise FetchError(errors.VOLUME_ERROR, f"SD_FETCH_ROOT: {known.root} is not a folder")
        described = task.Task(request=wanted, source=source, root=known.root, stop=stop)
        with download.new_client(source) as client:
            return task.run(described, client=client, patience=Patience())
    except FetchError as error:
        return error


if __name__ == "__main__":
    sys.exit(main())
