"""The Job that fetches one file. Pure.

A Job's pod template cannot be changed, so another wish is another Job: its name carries a hash of the file's
spec. The verdict is the pod's termination message; exit code 2 says that trying again is of no use.
"""

import json

from sd_operator import names
from sd_operator.api.bundle import BundleFile, ModelBundle
from sd_operator.api.fetching import job_name, request
from sd_operator.bundle.children.pod import FetchSettings, Work, build
from sd_operator.bundle.placement import Placement
from sd_operator.manifests import Object

COMPONENT = "fetch"
CREDENTIALS = "/credentials"
SOURCES = "/sources"
CA_FOLDER = "/etc/sd-fetch/ca"
NODE = "NODE_ADDRESS"


def build_job(
    bundle: ModelBundle,
    file: BundleFile,
    *,
    claim_uid: str,
    exclusive: bool,
    placement: Placement,
    failures: int,
    token_sha256: str,
    settings: FetchSettings,
) -> Object:
    """The Job of one file; `failures` of its like before it failed in a row."""
    annotations = {names.ANNOTATION_CLAIM_UID: claim_uid}
    if failures:
        annotations[names.ANNOTATION_FAILURES] = str(failures)
    secrets, claims, authorities = _secrets(bundle), _source_claims(file), _authorities(bundle)
    work = Work(
        name=job_name(bundle, file),
        component=COMPONENT,
        command=("python", "-m", "sd_operator.fetch"),
        env=_env(bundle, file, token_sha256, settings),
        labels={names.LABEL_SD_FILE: file.name},
        ports=[{"name": "management", "containerPort": names.MANAGEMENT_PORT, "protocol": "TCP"}],
        annotations=annotations,
        volumes=[volume for volume, _ in (*secrets, *claims, *authorities)],
        mounts=[mount for _, mount in (*secrets, *claims, *authorities)],
    )
    return build(bundle, work, exclusive=exclusive, placement=placement, settings=settings)


def _env(bundle: ModelBundle, file: BundleFile, token_sha256: str, settings: FetchSettings) -> list[Object]:
    options = bundle.spec.fetch
    values = {
        "SD_FETCH_FILE": json.dumps(request(bundle, file), sort_keys=True),
        "SD_FETCH_PORT": str(names.MANAGEMENT_PORT),
        "SD_FETCH_TOKEN_SHA256": token_sha256,
        "SD_FETCH_CONNECTIONS": str(options.connections),
        "HF_ENDPOINT": settings.hf_endpoint,
        "CIVITAI_ENDPOINT": settings.civitai_endpoint,
    }
    if bundle.spec.credential_secrets:
        values["SD_FETCH_CREDENTIALS"] = CREDENTIALS
    if settings.allowed_networks:
        values["SD_FETCH_ALLOWED_NETWORKS"] = ",".join(settings.allowed_networks)
    # Besides, the node that the pod runs on, which may be younger than the operator.
    values["SD_FETCH_REFUSED_NETWORKS"] = ",".join([*settings.refused_networks, f"$({NODE})"])
    if options.ca_bundle is not None:
        values["SD_FETCH_CA_FILE"] = f"{CA_FOLDER}/{options.ca_bundle.key}"
    if options.proxy is not None:
        values |= {
            name: value
            for name, value in (
                ("HTTP_PROXY", options.proxy.http),
                ("HTTPS_PROXY", options.proxy.https),
                ("NO_PROXY", ",".join(options.proxy.no_proxy)),
            )
            if value
        }
    node = {"name": NODE, "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}
    rest = [{"name": name, "value": value} for name, value in values.items()]
    return [rest[0], node, *rest[1:]]


def _secrets(bundle: ModelBundle) -> list[tuple[Object, Object]]:
    """Each credential in a folder of its own: the kubelet reads it, and renews it when it changes."""
    return [
        (
            {"name": f"secret-{index}", "secret": {"secretName": secret.name, "defaultMode": 0o440}},
            {
                "name": f"secret-{index}",
                "mountPath": f"{CREDENTIALS}/{secret.name}",
                "readOnly": True,
            },
        )
        for index, secret in enumerate(bundle.spec.credential_secrets)
    ]


def _source_claims(file: BundleFile) -> list[tuple[Object, Object]]:
    claims = dict.fromkeys(source.volume.claim_name for source in file.sources if source.volume is not None)
    return [
        (
            # Not read-only here but in the container: a claim that the pod mounts twice has one way to be.
            {"name": f"source-{index}", "persistentVolumeClaim": {"claimName": claim}},
            {"name": f"source-{index}", "mountPath": f"{SOURCES}/{claim}", "readOnly": True},
        )
        for index, claim in enumerate(claims)
    ]


def _authorities(bundle: ModelBundle) -> list[tuple[Object, Object]]:
    ca = bundle.spec.fetch.ca_bundle
    if ca is None:
        return []
    return [
        (
            {"name": "ca", "configMap": {"name": ca.name, "defaultMode": 0o444}},
            {"name": "ca", "mountPath": CA_FOLDER, "readOnly": True},
        )
    ]
