"""SDInstance.spec.rollout: how pods are replaced when they cannot be changed in place."""

from typing import Annotated, Literal

from pydantic import Field

from sd_operator.api.base import Model

Strategy = Literal["Surge", "Drain", "Recreate"]


class Rollout(Model):
    """How pods are replaced."""

    strategy: Annotated[
        Strategy | None,
        Field(
            description="Surge starts a new pod first and ends an old one when the new one serves: no "
            "request fails, and a spare GPU is needed. Drain ends an old pod first, which finishes what it "
            "accepted and answers new requests with 503: no spare GPU is needed. Recreate ends all pods "
            "before it starts new ones. Default: Surge; Drain where outputs is ReadWriteOnce."
        ),
    ] = None
    drain_timeout_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=86400,
            description="Seconds that a pod may take to finish the requests it accepted, when it is ended "
            "for whatever reason. Default: 600.",
        ),
    ] = 600
