"""What kinds of jobs there are: for each the body that A1111's route of it takes, how it is begun and how it
is answered. The job interface and A1111's routes make pictures in one and the same way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from sd_runtime.a1111.schemas import Img2ImgRequest, Txt2ImgRequest, Txt2ImgResponse
from sd_runtime.a1111.schemas.extras import ExtrasSingleRequest, ExtrasSingleResponse
from sd_runtime.jobs.job import Job, Outcome
from sd_runtime.routes import a1111_extras, generation
from sd_runtime.routes.services import Services

KindName = Literal["txt2img", "img2img", "extras"]
#: What a job of any kind ends with.
Answer = Txt2ImgResponse | ExtrasSingleResponse
AnyBody = TypeVar("AnyBody", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Started:
    """An accepted job, and who makes its answer once it has ended."""

    job: Job
    finish: Callable[[Outcome], Awaitable[bytes]]


async def start(services: Services, kind: KindName, parameters: Mapping[str, Any]) -> Started:
    """Judges the parameters and accepts the job; raises what A1111's route of this kind would answer with."""
    if kind == "extras":
        enlarging = await a1111_extras.start(services, _body(ExtrasSingleRequest, parameters))
        return Started(enlarging.job, _by(partial(a1111_extras.respond, services, enlarging)))
    body = _body(Txt2ImgRequest if kind == "txt2img" else Img2ImgRequest, parameters)
    making = await generation.start(services, kind, body)
    return Started(making.job, _by(partial(generation.respond, services, making)))


def _by(respond: Callable[[Outcome], BaseModel]) -> Callable[[Outcome], Awaitable[bytes]]:
    def written(outcome: Outcome) -> bytes:
        return respond(outcome).model_dump_json().encode()

    async def finish(outcome: Outcome) -> bytes:
        return await asyncio.to_thread(written, outcome)

    return finish


def _body(schema: type[AnyBody], parameters: Mapping[str, Any]) -> AnyBody:
    try:
        return schema.model_validate(parameters)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        placed = [{**problem, "loc": ("body", "parameters", *problem["loc"])} for problem in problems]
        raise RequestValidationError(placed) from error
