"""How the pods that fetch a bundle's files run."""

from typing import Annotated

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.kubernetes import LocalObjectReference, ObjectName, ResourceRequirements, Toleration
from sd_operator.api.schema import list_map


class Proxy(Model):
    """The way out of the cluster."""

    http: Annotated[
        str | None,
        Field(
            max_length=512,
            pattern=r"^https?://[^\s@]+$",
            description="Proxy for http addresses, such as http://proxy.example.org:3128. Default: none.",
        ),
    ] = None
    https: Annotated[
        str | None,
        Field(
            max_length=512,
            pattern=r"^https?://[^\s@]+$",
            description="Proxy for https addresses. Default: none.",
        ),
    ] = None
    no_proxy: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^\s,]+$")], ...],
        Field(
            max_length=64,
            description="Hosts, domains (.example.org) and networks that are reached without it. "
            "Default: none.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ()


class CaBundle(Model):
    """Certificate authorities that are trusted besides the usual ones."""

    name: Annotated[ObjectName, Field(description="Name of a ConfigMap of the same namespace.")]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[-._a-zA-Z0-9]+$",
            description="Key of the entry with the certificates, PEM. Default: ca.crt.",
        ),
    ] = "ca.crt"


class FetchOptions(Model):
    """How files are fetched."""

    parallelism: Annotated[
        int,
        Field(ge=1, le=16, description="How many files are fetched at the same time. Default: 3."),
    ] = 3
    connections: Annotated[
        int,
        Field(
            ge=1,
            le=16,
            description="How many connections one file is fetched over, where its source sends parts. "
            "Default: 4.",
        ),
    ] = 4
    resources: Annotated[
        ResourceRequirements | None,
        Field(
            description="Resources of a fetch pod. Default: 100m CPU and 128Mi memory requested, at most "
            "512Mi memory."
        ),
    ] = None
    node_selector: Annotated[
        dict[str, Annotated[str, Field(max_length=63)]] | None,
        Field(
            max_length=32,
            description="Labels of the nodes that fetch pods may run on. Default: while the volume has no "
            "node yet, those of the SDInstances that will mount it.",
        ),
    ] = None
    tolerations: Annotated[
        tuple[Toleration, ...] | None,
        Field(
            max_length=32,
            description="Taints that fetch pods tolerate. Default: while the volume has no node yet, those "
            "of the SDInstances that will mount it.",
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = None
    image_pull_secrets: Annotated[
        tuple[LocalObjectReference, ...] | None,
        Field(
            max_length=16,
            description="Secrets of the namespace for pulling the operator's image, which fetch pods run, "
            "besides those of the operator's settings. Default: none besides; if those have none either, "
            "those of the namespace's default service account.",
            json_schema_extra=list_map("name"),
        ),
    ] = None
    proxy: Annotated[Proxy | None, Field(description="The way out of the cluster. Default: direct.")] = None
    ca_bundle: Annotated[
        CaBundle | None,
        Field(description="Certificate authorities that are trusted besides the usual ones. Default: none."),
    ] = None
