"""`python -m sd_operator.fetch`: one file, as the environment says; a verdict; an exit code."""

import sys

from sd_operator.fetch import errors, network, process, request, task
from sd_operator.fetch.credentials import Credentials
from sd_operator.fetch.errand import Errand
from sd_operator.fetch.errors import FetchError
from sd_operator.fetch.patience import Patience
from sd_operator.fetch.progress import Progress, serving
from sd_operator.fetch.settings import Settings
from sd_operator.fetch.stopping import Stop
from sd_operator.fetch.verdict import Verified


def fetch(known: Settings, stop: Stop) -> Verified:
    """The file that the settings describe."""
    wanted, progress = request.parse(known.file), Progress()
    if not known.root.is_dir():
        raise FetchError(errors.VOLUME_ERROR, f"SD_FETCH_ROOT: {known.root} is not a folder")
    with (
        serving(progress, port=known.port, token_sha256=known.token_sha256),
        network.open_client(known, Credentials(known.credentials)) as client,
    ):
        return task.run(
            Errand(
                request=wanted,
                settings=known,
                client=client,
                patience=Patience(),
                progress=progress,
                stop=stop,
            )
        )


if __name__ == "__main__":
    sys.exit(process.run(fetch))
