"""The one shape of every error answer, A1111's: {error, detail, body, errors}."""

from collections.abc import Mapping

from pydantic import BaseModel
from starlette.responses import JSONResponse


class ErrorAnswer(BaseModel):
    """Why a request was not served. `error` is one word for programs, `detail` one sentence for people;
    `errors` repeats it and `body` is empty, as in A1111."""

    error: str
    detail: str
    body: str
    errors: str


def refusal(status: int, error: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error answer: `error` is one word for machines, `detail` one sentence for people."""
    # A client can send half of a surrogate pair, as JSON's escapes allow; UTF-8 cannot carry it back.
    detail = detail.encode("utf-8", "backslashreplace").decode()
    answer = ErrorAnswer(error=error, detail=detail, body="", errors=detail)
    return JSONResponse(answer.model_dump(), status_code=status, headers=headers)
