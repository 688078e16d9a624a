"""Data as people keep them in folders: a folder for each class, a file for each sample.

Classes and files come in sorted order, as from Keras's `..._dataset_from_directory`; files may lie deeper in a class's
folder. Hidden files and folders are passed over, and so are files with another suffix.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from kerascli.component import as_tuple, nearest
from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.ops.ir import Array
from kerascli.sources.arrays import Part, _ArraySource
from kerascli.sources.base import SPLITS, InputInfo, PathsBySplit, TargetInfo
from kerascli.sources.rows import Samples

_SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_DIGESTED = 1 << 12
"""Bytes of each file that go into the fingerprint."""


@dataclass(frozen=True)
class Files:
    """Paths of many files below one folder, kept in one text: a million of them are no million objects."""

    folder: Path
    names: bytes
    ends: Array

    @classmethod
    def of(cls, folder: Path, names: Sequence[str]) -> "Files":
        parts = [os.fsencode(name) for name in names]
        return cls(folder, b"".join(parts), np.cumsum([0, *map(len, parts)]))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, number: int) -> Path:
        return self.folder / self.name(number)

    def name(self, number: int) -> str:
        return os.fsdecode(self.names[self.ends[number] : self.ends[number + 1]])

    def only(self, numbers: Array) -> "Files":
        return Files.of(self.folder, [self.name(int(number)) for number in numbers])


@dataclass(frozen=True)
class Listing:
    """The files of one split and the class of each."""

    files: Files
    labels: Array
    """int32: places in the names of the classes."""
    notes: tuple[str, ...] = ()

    def only(self, numbers: Array) -> "Listing":
        return replace(self, files=self.files.only(numbers), labels=self.labels[numbers])


class _Folder(_ArraySource):
    """A folder for each class."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    what: ClassVar[str] = "file"

    path: PathsBySplit = Field(min_length=1)
    """The folder that has a folder for each class, or one for each split: `{train: …, validation: …, test: …}`."""
    class_names: Annotated[tuple[str, ...] | None, BeforeValidator(as_tuple)] = Field(None, min_length=2)
    """The folders that are classes, in the order of their numbers; by default all, in sorted order."""
    follow_links: bool = False
    """Whether links to folders inside the classes' folders are followed."""

    def info(self) -> InputInfo:
        """A sample."""
        raise NotImplementedError

    def samples(self, files: Files) -> Samples:
        """What is in the files."""
        raise NotImplementedError

    def sifted(self, listing: Listing, split: str) -> Listing:
        """The listing without files that are left out."""
        return listing

    def outline(self, base: Path) -> tuple[dict[str, InputInfo], dict[str, TargetInfo], dict[str, int]]:
        names, listings = self._listings(base)
        if not self.stratify:
            self._require_every_class(listings, names)
        target = TargetInfo((), "int32", len(names), names)
        return {"x": self.info()}, {"y": target}, {split: len(each.files) for split, each in listings.items()}

    def parts(self, base: Path, seed: int) -> dict[str, Part]:
        listings = {split: self.sifted(listing, split) for split, listing in self._listings(base)[1].items()}
        return {
            split: Part({"x": self.samples(each.files)}, {"y": each.labels}, notes=each.notes)
            for split, each in listings.items()
        }

    def fingerprint(self, base: Path, seed: int) -> str:
        """Of the names, sizes and beginnings of all files: reading all of them would take as long as an epoch."""
        return self.without(base, None)

    def without(self, base: Path, file: Path | None) -> str:
        digest = hashlib.sha256()
        for split, listing in self._listings(base)[1].items():
            folder = os.path.abspath(listing.files.folder)
            own = os.path.relpath(os.path.abspath(file), folder) if file else None
            for number in range(len(listing.files)):
                if listing.files.name(number) == own:
                    continue
                start, size = beginning(listing.files[number], _DIGESTED)
                digest.update(f"{split}/{listing.files.name(number)}:{size}\0".encode("utf-8", "surrogateescape"))
                digest.update(start)
        return f"sha256:{digest.hexdigest()}"

    def listings(self, base: Path) -> dict[str, Listing]:
        """The files of each split that has a folder, before any split is cut."""
        return self._listings(base)[1]

    def _listings(self, base: Path) -> tuple[tuple[str, ...], dict[str, Listing]]:
        """The names of the classes, and the files of each split."""
        if "train" not in self.path:
            raise Failure(Problem("E406", "`path` names no folder for the train split", help="`path: {train: …}`"))
        names: tuple[str, ...] = self.class_names or ()
        listings: dict[str, Listing] = {}
        for split in sorted(self.path, key=SPLITS.index):
            folder = base / self.path[split]
            inside = folders_of_classes(folder, self.suffixes, self.what)
            if split == "train":
                names = names or inside
                require_classes(folder, names, inside, self.what)
            elif other := [name for name in inside if name not in names and not self.class_names]:
                message = f"`{folder}` has a folder `{other[0]}`, which is no class of the train split"
                near = nearest(other[0], list(names))
                help = f"did you mean `{near}`?" if near else f"the classes are {', '.join(names[:20])}"
                raise Failure(Problem("E405", message, folder, help=help))
            listings[split] = listing(folder, names, inside, self.suffixes, self.what, self.follow_links, split)
        return names, listings

    def _require_every_class(self, listings: Mapping[str, Listing], names: Sequence[str]) -> None:
        """Files are sorted by class: what is cut from their end may be all that there is of a class."""
        cuts = self.cuts({split: len(each.files) for split, each in listings.items()})
        cut = cuts["train"]
        left = set(np.unique(listings["train"].labels[cut.start : cut.stop]).tolist())
        absent = [name for number, name in enumerate(names) if number not in left]
        if absent and any(other.part == "train" and split != "train" for split, other in cuts.items()):
            keys = " and ".join(f"`{key}`" for key in ("validation_split", "test_split") if getattr(self, key))
            message = f"{keys} would leave nothing of class `{absent[0]}` to train on: the files are sorted by class"
            help = "add `stratify: true` to `dataset`, and every split has its share of each class"
            raise Failure(Problem("E406", message, help=help))


def beginning(path: Path, size: int) -> tuple[bytes, int]:
    """The first bytes of a file, and its size."""
    try:
        with path.open("rb") as file:
            return file.read(size), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise cannot_read(path, error) from None


def marks(files: Files, rows: Array) -> Array:
    """64 bits of each of these files, made of its size, its beginning, its middle and its end: (n,)."""
    found = bytearray()
    for row in rows.tolist():
        path = files[row]
        try:
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                digest = hashlib.blake2b(str(size).encode(), digest_size=8)
                for place in (0, size // 2, max(size - _DIGESTED, 0)):
                    file.seek(place)
                    digest.update(file.read(_DIGESTED))
        except OSError as error:
            raise cannot_read(path, error) from None
        found += digest.digest()
    return np.frombuffer(bytes(found), np.uint64)


def folders_of_classes(folder: Path, suffixes: Sequence[str], what: str) -> tuple[str, ...]:
    """The folders inside, sorted; a problem where there are none."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.exists():
            help = f"`path` is a folder that has a folder for each class, with its {what}s inside"
            raise Failure(Problem("E401", f"`{folder}` is a file, not a folder", folder, help=help)) from None
        raise cannot_read(folder, error) from None
    except OSError as error:
        raise cannot_read(folder, error) from None
    inside = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    if not inside:
        loose = sum(entry.name.lower().endswith(tuple(suffixes)) for entry in entries)
        found = f"{loose:,} {what}s but no folders" if loose else "no folders" if entries else "nothing in it"
        help = f"put the {what}s of each class into a folder of its own, such as `{folder / 'cats'}`"
        raise Failure(Problem("E403", f"`{folder}` has {found}", folder, help=help))
    return tuple(inside)


def require_classes(folder: Path, names: Sequence[str], inside: Sequence[str], what: str) -> None:
    """There must be two classes, and they should not be splits."""
    for name in names:
        if name not in inside:
            near = nearest(name, list(inside))
            help = f"did you mean `{near}`?" if near else f"the folders are {', '.join(inside[:20])}"
            raise Failure(Problem("E409", f"`{folder}` has no folder `{name}`", folder, help=help))
    splits = {_SPLIT_FOLDERS[name.lower()]: name for name in names if name.lower() in _SPLIT_FOLDERS}
    if len(splits) == len(names) and "train" in splits:
        given = ", ".join(f"{split}: {folder / splits[split]}" for split in SPLITS if split in splits)
        message = f"the folders of `{folder}` are no classes but splits: {', '.join(names)}"
        raise Failure(Problem("E403", message, folder, help=f"`path: {{{given}}}`"))
    if len(names) == 1:
        help = f"put the {what}s of another class into a folder beside it"
        raise Failure(Problem("E403", f"`{folder}` has one class only, `{names[0]}`", folder, help=help))


def listing(
    folder: Path,
    names: Sequence[str],
    inside: Sequence[str],
    suffixes: Sequence[str],
    what: str,
    follow_links: bool = False,
    split: str = "train",
) -> Listing:
    """The files of every class, sorted as Keras sorts them."""
    found: list[str] = []
    counts: list[int] = []
    others: Counter[str] = Counter()
    for name in names:
        files = list(walk(folder, name, tuple(suffixes), follow_links, others)) if name in inside else []
        if not files and (split == "train" or name in inside):
            others_inside = f", but {sum(others.values()):,} other files" if others else ""
            help = f"{what}s end in {', '.join(suffixes)}; remove the folder, or name the classes: `class_names: […]`"
            message = f"the folder `{name}` of `{folder}` has no {what}s{others_inside}"
            raise Failure(Problem("E403", message, folder / name, help=help))
        found += files
        counts.append(len(files))
    labels = np.repeat(np.arange(len(names), dtype=np.int32), counts)
    notes = []
    if others:
        kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in others.most_common(5))
        notes.append(f"{sum(others.values()):,} files of the {split} split are no {what}s and are left out: {kinds}")
    return Listing(Files.of(folder, found), labels, tuple(notes))


def walk(folder: Path, name: str, suffixes: tuple[str, ...], follow_links: bool, others: Counter[str]) -> Iterator[str]:
    """Names below `folder`: folder by folder in sorted order, the files of each in sorted order."""

    def fail(error: OSError) -> None:
        raise cannot_read(Path(error.filename), error) from None

    walked = []
    seen: set[str] = set()
    for root, folders, files in os.walk(folder / name, onerror=fail, followlinks=follow_links):
        real = os.path.realpath(root) if follow_links else root
        if real in seen:
            folders.clear()  # a link that leads back
            continue
        seen.add(real)
        folders[:] = [each for each in folders if not each.startswith(".")]
        walked.append((root, [each for each in files if not each.startswith(".")]))
    for root, files in sorted(walked):
        inside = os.path.normpath(os.path.relpath(root, folder))
        for file in sorted(files):
            if file.lower().endswith(suffixes):
                yield file if inside == os.curdir else os.path.join(inside, file)
            else:
                others[os.path.splitext(file)[1].lower()] += 1


def bytes_of(files: Files) -> int:
    """What all files take; those that are gone count nothing here, and are named when they are read."""
    return sum(path.stat().st_size for path in (files[k] for k in range(len(files))) if path.exists())


def share(count: int, of: int) -> str:
    """Such as 3 of 500 (0.6 %)."""
    return f"{count:,} of {of:,} ({100 * count / of:.2g} %)"
