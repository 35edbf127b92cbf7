"""A Hugging Face-shaped model hub for the demo cluster: read-only, anonymous, plain HTTP.

Serves what a downloader asks a hub for: files by `resolve` (with ETag, Range and If-Range), a repository's
commit and its list of files. Run it with `python -m demo.hub.server --root FOLDER`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from demo.hub.repositories import MAIN, Entry, Repository, read


def create_app(repositories: Mapping[str, Repository]) -> Starlette:
    """An application serving these repositories."""
    app = Starlette(
        routes=[
            Route("/healthz", health),
            Route("/api/models/{organisation}/{name}", model_info),
            Route("/api/models/{organisation}/{name}/revision/{revision}", model_info),
            Route("/api/models/{organisation}/{name}/tree/{revision}", tree),
            Route("/{organisation}/{name}/resolve/{revision}/{path:path}", resolve),
        ],
        exception_handlers={HTTPException: not_found},
    )
    app.state.repositories = repositories
    return app


async def health(request: Request) -> Response:
    return PlainTextResponse("ok")


async def resolve(request: Request) -> Response:
    """A file's bytes. The ETag is its sha256, as it is for a hub's large files."""
    repository = find_repository(request)
    path = request.path_params["path"]
    entry = repository.entries.get(path)
    if entry is None:
        raise missing("EntryNotFound", f"Entry not found: {path}", commit=repository.commit)
    return FileResponse(
        entry.location,
        media_type="application/octet-stream",
        headers={"ETag": f'"{entry.sha256}"', "X-Repo-Commit": repository.commit},
    )


async def model_info(request: Request) -> Response:
    repository = find_repository(request)
    return JSONResponse(
        {
            "id": repository.id,
            "modelId": repository.id,
            "sha": repository.commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "siblings": [{"rfilename": path} for path in repository.entries],
        },
        headers={"X-Repo-Commit": repository.commit},
    )


async def tree(request: Request) -> Response:
    """All files of a repository; there are too few to page through or to list by folder."""
    repository = find_repository(request)
    return JSONResponse(
        [tree_item(path, entry) for path, entry in repository.entries.items()],
        headers={"X-Repo-Commit": repository.commit},
    )


def tree_item(path: str, entry: Entry) -> dict[str, object]:
    return {"type": "file", "path": path, "size": entry.size, "oid": entry.sha256[:40]}


def find_repository(request: Request) -> Repository:
    """The repository and revision that a request names."""
    parameters = request.path_params
    repositories: Mapping[str, Repository] = request.app.state.repositories
    identifier = f"{parameters['organisation']}/{parameters['name']}"
    repository = repositories.get(identifier)
    if repository is None:
        raise missing("RepoNotFound", f"Repository not found: {identifier}")
    revision = parameters.get("revision", MAIN)
    if not repository.has_revision(revision):
        raise missing("RevisionNotFound", f"Invalid rev id: {revision}")
    return repository


def missing(code: str, message: str, *, commit: str | None = None) -> HTTPException:
    """What a hub answers for something it does not have: clients read the headers, people the body."""
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return HTTPException(404, message, headers | ({"X-Repo-Commit": commit} if commit else {}))


async def not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder with <organisation>/<name>/<files>")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    repositories = read(arguments.root)
    if not repositories:
        parser.error(f"--root {arguments.root}: no <organisation>/<name> folder in it")
    uvicorn.run(create_app(repositories), host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
