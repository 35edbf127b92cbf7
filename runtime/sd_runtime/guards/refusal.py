"""The one shape of every error answer, A1111's: {error, detail, body, errors}."""

from collections.abc import Mapping

from starlette.responses import JSONResponse


def refusal(status: int, error: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error answer: `error` is one word for machines, `detail` one sentence for people."""
    # A client can send half of a surrogate pair, as JSON's escapes allow; UTF-8 cannot carry it back.
    detail = detail.encode("utf-8", "backslashreplace").decode()
    content = {"error": error, "detail": detail, "body": "", "errors": detail}
    return JSONResponse(content, status_code=status, headers=headers)
