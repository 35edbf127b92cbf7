"""A Hugging Face-shaped mirror of `<root>/hub/<organisation>/<name>/`.

Repositories of the organisation `private` need a token, those of `gated` the token of somebody who has
accepted their terms. Files are answered by a redirect to the CDN, with the headers that clients read from it.
"""

from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.hub import repositories
from demo.hub.repositories import MAIN, Repository
from tests.sources import cdn
from tests.sources.answering import counted
from tests.sources.counting import Ask, Counts, Tally
from tests.sources.credentials import HUB_MEMBER_TOKEN, HUB_TOKEN

PRIVATE, GATED = "private", "gated"


def routes(root: Path, counts: Counts, cdn_host: str) -> list[Route]:
    known = repositories.read(root / "hub")

    def resolve(request: Request, ask: Ask, tally: Tally) -> Response:
        repository = _find(known, request, ask.authorization)
        if isinstance(repository, Response):
            return repository
        path = request.path_params["path"]
        entry = repository.entries.get(path)
        if entry is None:
            return _refused(404, "EntryNotFound", f"Entry not found: {path}", repository.commit)
        place = entry.location.relative_to(root).as_posix()
        headers = {
            "Location": cdn.address(request, cdn_host, place, name=entry.location.name),
            "X-Repo-Commit": repository.commit,
            "X-Linked-Size": str(entry.size),
            "X-Linked-ETag": f'"{entry.sha256}"',
            "Accept-Ranges": "bytes",
        }
        return Response("Found. Redirecting", 302, headers, media_type="text/plain")

    def model(request: Request, ask: Ask, tally: Tally) -> Response:
        repository = _find(known, request, ask.authorization)
        if isinstance(repository, Response):
            return repository
        return JSONResponse(_model(repository), headers={"X-Repo-Commit": repository.commit})

    return [
        Route("/api/models/{organisation}/{name}", counted(counts, model)),
        Route("/api/models/{organisation}/{name}/revision/{revision}", counted(counts, model)),
        Route("/{organisation}/{name}/resolve/{revision}/{path:path}", counted(counts, resolve)),
    ]


def _model(repository: Repository) -> dict[str, object]:
    organisation = repository.id.partition("/")[0]
    return {
        "id": repository.id,
        "modelId": repository.id,
        "sha": repository.commit,
        "private": organisation == PRIVATE,
        "gated": "auto" if organisation == GATED else False,
        "siblings": [{"rfilename": path} for path in repository.entries],
    }


def _find(known: Mapping[str, Repository], request: Request, authorization: str) -> Repository | Response:
    """The repository that a request names, or why it is refused."""
    organisation, name = (request.path_params[word] for word in ("organisation", "name"))
    token = authorization.removeprefix("Bearer ")
    if token and token not in (HUB_TOKEN, HUB_MEMBER_TOKEN):
        return _refused(401, "", "Invalid credentials in Authorization header")
    repository = known.get(f"{organisation}/{name}")
    if repository is None or (organisation == PRIVATE and not token):
        # Who may not see a repository is not told that there is one.
        status = 404 if token else 401
        return _refused(status, "RepoNotFound", "Repository not found")
    if organisation == GATED and token != HUB_MEMBER_TOKEN:
        message = f"Access to model {repository.id} is restricted"
        return _refused(403 if token else 401, "GatedRepo", message)
    revision = request.path_params.get("revision", MAIN)
    if not repository.has_revision(revision):
        return _refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return repository


def _refused(status: int, code: str, message: str, commit: str = "") -> Response:
    headers = {"X-Error-Message": message}
    headers |= {"X-Error-Code": code} if code else {}
    headers |= {"X-Repo-Commit": commit} if commit else {}
    return JSONResponse({"error": message}, status, headers)
