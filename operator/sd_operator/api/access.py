"""SDInstance.spec.access: who may use the service, and how they reach it."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator.api.base import Model
from sd_operator.api.kubernetes import AnnotationMap, LocalObjectReference, ObjectName


class Service(Model):
    """The Service in front of the pods."""

    type: Annotated[
        Literal["ClusterIP", "NodePort", "LoadBalancer"],
        Field(description="Type of the Service. Default: ClusterIP."),
    ] = "ClusterIP"
    annotations: Annotated[
        AnnotationMap | None,
        Field(description="Annotations of the Service, such as those of a load balancer. Default: none."),
    ] = None


class Ingress(Model):
    """The Ingress in front of the Service."""

    host: Annotated[
        str,
        Field(
            max_length=253,
            pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            description="DNS name under which the whole service is reached, on path /.",
        ),
    ]
    class_name: Annotated[
        ObjectName | None,
        Field(description="IngressClass. Default: the cluster's default class."),
    ] = None
    tls_secret_name: Annotated[
        ObjectName | None,
        Field(
            description="Secret of type kubernetes.io/tls with the certificate of the host; it may be made "
            "later, by cert-manager for one. Default: no TLS."
        ),
    ] = None
    annotations: Annotated[
        AnnotationMap | None,
        Field(
            description="Annotations of the Ingress; controllers read limits from them (a picture takes "
            "longer than their usual 60 s, and img2img sends large bodies). Default: none."
        ),
    ] = None


class Access(Model):
    """Who may use the service, and how they reach it."""

    auth: Annotated[
        Literal["Required", "Disabled"],
        Field(
            description="Required asks every request for the user name and password in authSecretRef; "
            "Disabled lets everybody in who reaches the Service. Default: Required."
        ),
    ] = "Required"
    auth_secret_ref: Annotated[
        LocalObjectReference | None,
        Field(
            description="Secret of type kubernetes.io/basic-auth (username, password). The kubelet mounts "
            "it; the operator never reads it. Needed when auth is Required, and refused when it is Disabled."
        ),
    ] = None
    page: Annotated[
        Literal["Enabled", "Disabled"],
        Field(
            description="Enabled serves a page to work with in a browser, on path / beside the API and "
            "behind the same authentication; Disabled serves the API alone. Default: Enabled."
        ),
    ] = "Enabled"
    service: Annotated[Service, Field(description="The Service in front of the pods.")] = Service()
    ingress: Annotated[
        Ingress | None, Field(description="An Ingress in front of the Service. Default: none.")
    ] = None
    network_policy: Annotated[
        Literal["Restricted", "Disabled"],
        Field(
            description="Restricted makes a NetworkPolicy: the service's port is open to all, the "
            "management port to the cluster's pods, and the pods themselves reach nothing but DNS and each "
            "other. Disabled makes none. Default: Restricted."
        ),
    ] = "Restricted"
