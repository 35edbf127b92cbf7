"""`/files/<case>/<name>?<plan>`: a file, and what a bad day makes of it.

What is counted, and the trouble that comes only so often, belong to the case and the name, so that tests
which name different cases do not disturb each other.
"""

import base64
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.sources.answering import FileAnswer, counted
from tests.sources.blobs import Blob, Blobs
from tests.sources.counting import Ask, Counts, Tally
from tests.sources.plans import Plan, PlanError, parse

LOGIN_PAGE = "<!DOCTYPE html>\n<html><head><title>Log in</title></head><body>Please log in.</body></html>\n"


def routes(blobs: Blobs, counts: Counts) -> list[Route]:
    def file(request: Request, ask: Ask, tally: Tally) -> Response:
        try:
            plan = parse(request.query_params)
        except PlanError as error:
            return PlainTextResponse(f"{error}\n", 400)
        return _answer(request, blobs, tally, ask, plan=plan)

    return [Route("/files/{case}/{name:path}", counted(counts, file))]


def _answer(request: Request, blobs: Blobs, tally: Tally, ask: Ask, *, plan: Plan) -> Response:
    name = request.path_params["name"]
    blob = blobs.find(f"files/{name}")
    if blob is None:
        return PlainTextResponse(f"no file {name}\n", 404)
    if refusal := _refusal(ask, _token_of(plan, tally, blob), plan.basic):
        return refusal
    number = sum(1 for earlier in tally.asks if earlier.method == ask.method) - 1
    faults = _troubled(plan, tally, blob, number)
    tally.faults += faults
    if faults and (instead := _instead(request, plan, blob)):
        return instead
    other = blobs.find(f"files/{plan.swap}") if plan.swap else None
    if other is not None and tally.sent >= blob.size * plan.swap_at / 100:
        blob = other
    if plan.then_bearer:
        # Whoever is served under the old token is cut when the new one comes.
        plan = replace(plan, cut_at=plan.then_at)
    return FileAnswer(blob, ask, tally, plan=plan, number=number, faults=faults)


def _troubled(plan: Plan, tally: Tally, blob: Blob, number: int) -> bool:
    """Whether the case's request of this number, from 0, has the trouble."""
    begun = number >= plan.skip and tally.sent >= blob.size * plan.since / 100
    return begun and (not plan.times or tally.faults < plan.times)


def _token_of(plan: Plan, tally: Tally, blob: Blob) -> str:
    rotated = plan.then_bearer and tally.sent >= blob.size * plan.then_at / 100
    return plan.then_bearer if rotated else plan.bearer


def _refusal(ask: Ask, token: str, user: str) -> Response | None:
    wanted = f"Bearer {token}" if token else ""
    if user:
        wanted = "Basic " + base64.b64encode(user.encode()).decode()
    if ask.authorization == wanted or not wanted:
        return None
    scheme = wanted.partition(" ")[0]
    return PlainTextResponse("who are you?\n", 401, {"WWW-Authenticate": f'{scheme} realm="files"'})


def _instead(request: Request, plan: Plan, blob: Blob) -> Response | None:
    """What is answered in place of the file."""
    if plan.status:
        headers = {"Retry-After": plan.retry_after} if plan.retry_after else {}
        if plan.status == 416:
            headers["Content-Range"] = f"bytes */{blob.size}"
        return PlainTextResponse("not now\n", plan.status, headers)
    if plan.redirect:
        target = str(request.url) if plan.redirect == "loop" else plan.redirect
        return PlainTextResponse("over there\n", plan.redirect_status, {"Location": target})
    if plan.html:
        return HTMLResponse(LOGIN_PAGE)
    return None
