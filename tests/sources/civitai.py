"""A Civitai-shaped catalogue: `<root>/civitai.json` lists model versions, with files below `<root>/files/`.

    [{"id": 101, "name": "v1", "model": "Shapes", "type": "Checkpoint", "baseModel": "SD 1.5",
      "trainedWords": ["a word"], "access": "open", "images": ["demo-sd15/sheet.png"],
      "files": [{"path": "demo-sd15/demo-sd15.safetensors", "type": "Model"}]}]

access: open; token: without one 401 and JSON, as programs get it; login: without one a redirect to a login
page; early: 403, bought by nobody. Downloads are redirected to the CDN, as previews are.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tests.sources import cdn
from tests.sources.answering import counted
from tests.sources.blobs import Blob, Blobs
from tests.sources.counting import Ask, Counts, Tally
from tests.sources.credentials import CIVITAI_TOKEN
from tests.sources.misbehaving import LOGIN_PAGE

#: Civitai's names of formats, by suffix.
FORMATS = {".safetensors": "SafeTensor", ".pt": "PickleTensor", ".ckpt": "PickleTensor"}
Version = Mapping[str, Any]


class Catalogue:
    """The versions, and where their files are."""

    def __init__(self, versions: Sequence[Version], blobs: Blobs, cdn_host: str) -> None:
        self._versions = {int(version["id"]): version for version in versions}
        self._blobs = blobs
        self._cdn_host = cdn_host

    def by_id(self, identifier: str) -> Version | None:
        return self._versions.get(int(identifier)) if identifier.isdigit() else None

    def by_hash(self, digest: str) -> Version | None:
        """The version with a file of this sha256 (any case), or of its first ten digits (AutoV2)."""
        wanted = digest.lower()
        for version in self._versions.values():
            digests = [self._blob(file).sha256 for file in version["files"]]
            if wanted in digests or wanted in (found[:10] for found in digests):
                return version
        return None

    def file_of(self, version: Version, query: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The file that a download asks for by type and format; the first one if it asks for none."""
        for file in version["files"]:
            kinds = {"type": file["type"], "format": _format(file)}
            if all(query.get(word, kind) == kind for word, kind in kinds.items()):
                found: Mapping[str, Any] = file
                return found
        return None

    def download(self, request: Request, file: Mapping[str, Any]) -> str:
        name = Path(file["path"]).name
        return cdn.address(request, self._cdn_host, f"files/{file['path']}", name=name)

    def told(self, request: Request, version: Version) -> dict[str, Any]:
        """A version as the API tells it."""
        origin = str(request.base_url).rstrip("/")
        files = [self._file(origin, version, index) for index in range(len(version["files"]))]
        return {
            "id": version["id"],
            "modelId": 1000 + version["id"],
            "name": version["name"],
            "baseModel": version["baseModel"],
            "trainedWords": version["trainedWords"],
            "description": None,
            "model": {"name": version["model"], "type": version["type"], "nsfw": False, "poi": False},
            "files": files,
            "images": [self._image(request, path) for path in version["images"]],
            "downloadUrl": files[0]["downloadUrl"],
        }

    def _file(self, origin: str, version: Version, index: int) -> dict[str, Any]:
        file = version["files"][index]
        blob = self._blob(file)
        address = f"{origin}/api/download/models/{version['id']}"
        if index:
            address += f"?type={quote(file['type'])}&format={_format(file)}"
        return {
            "id": version["id"] * 10 + index,
            "sizeKB": blob.size / 1024,
            "name": Path(file["path"]).name,
            "type": file["type"],
            "metadata": {"format": _format(file)},
            "hashes": {"AutoV2": blob.sha256[:10].upper(), "SHA256": blob.sha256.upper()},
            "downloadUrl": address,
            # Only the primary one says so.
            **({} if index else {"primary": True}),
        }

    def _image(self, request: Request, path: str) -> dict[str, Any]:
        kind = "video" if path.endswith(".mp4") else "image"
        address = cdn.address(request, self._cdn_host, f"files/{path}", name=Path(path).name)
        return {"url": address, "type": kind, "nsfwLevel": 1, "width": 64, "height": 64}

    def _blob(self, file: Mapping[str, Any]) -> Blob:
        blob = self._blobs.find(f"files/{file['path']}")
        assert blob is not None, f"civitai.json names files/{file['path']}, which there is not"
        return blob


def routes(root: Path, blobs: Blobs, counts: Counts, cdn_host: str) -> list[Route]:
    listed = root / "civitai.json"
    versions = json.loads(listed.read_bytes()) if listed.exists() else []
    catalogue = Catalogue(versions, blobs, cdn_host)

    def version(request: Request, ask: Ask, tally: Tally) -> Response:
        words = request.path_params
        found = catalogue.by_id(words["id"]) if "id" in words else catalogue.by_hash(words["hash"])
        if ask.authorization not in ("", f"Bearer {CIVITAI_TOKEN}"):
            return JSONResponse({"error": "Unauthorized"}, 401)
        if found is None:
            return JSONResponse({"error": "Model not found"}, 404)
        return JSONResponse(catalogue.told(request, found))

    def download(request: Request, ask: Ask, tally: Tally) -> Response:
        found = catalogue.by_id(request.path_params["id"])
        file = catalogue.file_of(found, request.query_params) if found else None
        if found is None or file is None:
            return JSONResponse({"error": "Model not found"}, 404)
        refused = _refused(request, found["access"], ask.authorization)
        return refused or Response(status_code=307, headers={"Location": catalogue.download(request, file)})

    def login(request: Request, ask: Ask, tally: Tally) -> Response:
        return HTMLResponse(LOGIN_PAGE)

    return [
        Route("/api/v1/model-versions/by-hash/{hash}", counted(counts, version)),
        Route("/api/v1/model-versions/{id}", counted(counts, version)),
        Route("/api/download/models/{id}", counted(counts, download)),
        Route("/login", counted(counts, login)),
    ]


def _refused(request: Request, access: str, authorization: str) -> Response | None:
    token = authorization.removeprefix("Bearer ") or request.query_params.get("token", "")
    if token and token != CIVITAI_TOKEN:
        return JSONResponse({"error": "Unauthorized"}, 401)
    if access == "early":
        return JSONResponse({"error": "Forbidden", "message": "This asset is in Early Access."}, 403)
    if token or access == "open":
        return None
    if access == "login":
        target = f"/login?returnUrl={quote(request.url.path, safe='')}&reason=download-auth"
        return Response(status_code=307, headers={"Location": target})
    message = "The creator of this asset requires you to be logged in to download it"
    return JSONResponse({"error": "Unauthorized", "message": message}, 401)


def _format(file: Mapping[str, Any]) -> str:
    return FORMATS.get(Path(file["path"]).suffix, "Other")
