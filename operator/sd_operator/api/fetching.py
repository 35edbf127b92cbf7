"""What the fetch of a file is asked to do, and the name of its Job. Pure.

Known to both kinds: a file's status counts for a spec only when it names the Job that the spec asks for.
"""

from typing import Any

from sd_operator import names
from sd_operator.api.bundle import BundleFile, FileStatus, ModelBundle


def request(bundle: ModelBundle, file: BundleFile) -> dict[str, Any]:
    """What the fetcher is asked to do, as it finds it in SD_FETCH_FILE."""
    return {
        "bundle": bundle.metadata.name,
        "formatPolicy": bundle.spec.format_policy,
        "file": {
            "name": file.name,
            "type": file.type,
            "family": bundle.family_of(file),
            "sources": [source.as_manifest() for source in file.sources],
            "sha256": file.sha256.lower() if file.sha256 is not None else None,
            "fileName": file.name_on_volume(bundle.spec.format_policy),
        },
    }


def job_name(bundle: ModelBundle, file: BundleFile) -> str:
    """The name of the file's Job; another wish has another name."""
    return names.job_name(bundle.metadata.name, file.name, request(bundle, file))


def told(bundle: ModelBundle, file: BundleFile) -> FileStatus | None:
    """What the stored status says about this very wish for the file; None when it speaks of another."""
    for status in bundle.status.files:
        if status.name != file.name or status.job != job_name(bundle, file):
            continue
        sent = status.source_sha256 or status.sha256
        if status.state == "Verified" and file.sha256 is not None and sent != file.sha256.lower():
            return None
        return status
    return None
