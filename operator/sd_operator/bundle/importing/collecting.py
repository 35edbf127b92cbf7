"""The story of an import: find, read, hash, tell apart, name. What it yields is ready to be written down."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sd_modelfiles import place
from sd_modelfiles.kinds import ModelType
from sd_operator.bundle.importing import hashing, layouts, naming, reading, walking
from sd_operator.bundle.importing.reading import Model
from sd_operator.bundle.importing.reporting import Report
from sd_operator.bundle.importing.walking import Candidate

_ORDER = {each: index for index, each in enumerate(ModelType)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file that a bundle will have."""

    path: str  # relative to the folder that is imported
    label: str
    file_name: str
    model: Model
    sha256: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    candidate: Candidate
    model: Model
    sha256: str | None


def collect(root: Path, report: Report, *, scan_pickles: bool, hashed: bool) -> list[Entry]:
    """The files below `root`, which has no symbolic links in its path, in an order that stays."""
    folders = layouts.find(root, report)
    candidates = walking.candidates(root, folders, report)
    _tell_unknown_folders(root, folders, report)
    models = _read(candidates, report, scan_pickles=scan_pickles)
    models.sort(key=_rank)
    digests = _hash(models, report) if hashed else dict.fromkeys((each.path for each, _ in models), None)
    found = [
        _Found(candidate, model, digests[candidate.path])
        for candidate, model in models
        if candidate.path in digests
    ]
    return _named(root, _without_doubles(root, found, report))


def _rank(pair: tuple[Candidate, Model]) -> tuple[int, bool, bool, bool, Path]:
    """By type; then the ones that people mean by the name, because the first to have a name keeps it."""
    candidate, model = pair
    misplaced = model.contradiction is not None
    return _ORDER[model.type], misplaced, model.pickle, bool(candidate.below), candidate.path


def _tell_unknown_folders(root: Path, folders: list[layouts.ModelFolder], report: Report) -> None:
    for folder in layouts.unknown_folders(root):
        taken = any(each.path.is_relative_to(folder) for each in folders)
        count = 0 if taken or folder.is_symlink() else walking.models_in(folder)
        if count:
            report.left_out(folder, f"{count} file{'s' if count > 1 else ''} of a kind that no bundle has")


def _read(
    candidates: Iterable[Candidate], report: Report, *, scan_pickles: bool
) -> list[tuple[Candidate, Model]]:
    models = []
    for candidate in candidates:
        try:
            model = reading.read(candidate, scan_pickles=scan_pickles)
        except reading.NotImportable as error:
            report.left_out(candidate.path, str(error))
        else:
            models.append((candidate, model))
    return models


def _hash(models: list[tuple[Candidate, Model]], report: Report) -> dict[Path, str | None]:
    """Path → digest; files that cannot be hashed are told and are not there."""
    progress = hashing.Progress(sum(model.size for _, model in models), report.say)
    digests: dict[Path, str | None] = {}
    known: dict[tuple[int, int], str] = {}
    for candidate, model in models:
        try:
            digest = known.get(model.inode) if model.inode else None
            if digest is None:
                digest = hashing.sha256(candidate.path, progress, expected_size=model.size)
        except OSError as error:
            report.left_out(candidate.path, f"cannot be read: {error.strerror or error}")
        except hashing.Changed as error:
            report.left_out(candidate.path, str(error))
        else:
            digests[candidate.path] = digest
            if model.inode:
                known[model.inode] = digest
    return digests


def _without_doubles(root: Path, found: list[_Found], report: Report) -> list[_Found]:
    """Each content once: one digest, or without digests one inode."""
    first: dict[object, Path] = {}
    kept = []
    for each in found:
        path = each.candidate.path
        content = each.sha256 or each.model.inode or path
        if content in first:
            report.left_out(path, f"the same file as {first[content].relative_to(root).as_posix()}")
        else:
            first[content] = path
            kept.append(each)
    return kept


def _named(root: Path, found: list[_Found]) -> list[Entry]:
    entries = []
    labels: set[str] = set()
    places: set[str] = set()
    for each in found:
        file_name = _free_file_name(each, places)
        label = _free_label(file_name, each.model.type, labels)
        entries.append(
            Entry(
                path=each.candidate.path.relative_to(root).as_posix(),
                label=label,
                file_name=file_name,
                model=each.model,
                sha256=each.sha256,
                notes=_notes(each, file_name),
            )
        )
    return entries


def _free_file_name(found: _Found, taken: set[str]) -> str:
    name = next(name for name in _file_names(found) if _place(found, name) not in taken)
    taken.add(_place(found, name))
    return name


def _file_names(found: _Found) -> Iterator[str]:
    """Names that the file may get on the volume, best first."""
    stem, otherwise = Path(found.candidate.name).stem, found.model.type.lower()
    whole = "_".join((*found.candidate.below, stem))
    yield naming.file_name(stem, otherwise=otherwise)
    yield naming.file_name(whole, otherwise=otherwise)
    for number in itertools.count(2):
        yield naming.file_name(whole, otherwise=otherwise, number=number)


def _place(found: _Found, file_name: str) -> str:
    # Without case: some volumes tell no difference.
    return str(place.path_of(found.model.type, file_name)).casefold()


def _free_label(file_name: str, model_type: ModelType, taken: set[str]) -> str:
    wanted = naming.label(file_name.removesuffix(naming.SUFFIX), otherwise=model_type.lower())
    numbers = (naming.numbered(wanted, number) for number in itertools.count(2))
    label = next(label for label in itertools.chain([wanted], numbers) if label not in taken)
    taken.add(label)
    return label


def _notes(found: _Found, file_name: str) -> tuple[str, ...]:
    """What a person should know who looks for the file under its old name."""
    notes = [found.model.contradiction] if found.model.contradiction else []
    own = Path(found.candidate.name).stem + naming.SUFFIX
    reasons = ["a bundle has no subfolders"] if found.candidate.below else []
    if file_name != own:
        reasons.append("its own name is taken" if naming.fits(own) else "its own name is not allowed")
    if reasons:
        notes.append(f"becomes {place.path_of(found.model.type, file_name)}: {', '.join(reasons)}")
    return tuple(notes)
