"""Raw samples in arrays: brought into the shape and type that the network was trained on, or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.ops.ir import Array
from kerascli.preprocessing import Preprocessing
from kerascli.sources.base import InputInfo, Split
from kerascli.sources.named_arrays import Archive
from kerascli.sources.npz import open_archive
from kerascli.sources.rows import Samples, Streamed, served, served_dtype
from kerascli.sources.targets import encode_labels

Arrays = dict[str, Array]
ARCHIVES = (".npz", ".h5", ".hdf5")
"""Files of arrays that have names."""


def load_npy(path: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except FileNotFoundError as error:
        raise cannot_read(path, error) from None
    except (ValueError, EOFError, OSError) as error:
        raise Failure(
            Problem(
                "E402",
                f"`{path}` is damaged or no .npy file: {error}",
                path,
                help="write it with numpy.save; pickled objects are refused",
            )
        ) from None


def split_of_archive(path: Path, preprocessing: Preprocessing, specs: Mapping[str, InputInfo]) -> Split:
    with arrays_in(path) as archive:
        inputs = {name: archive.read(own)[:] for name, own in arrays_of(archive.names, specs, str(path)).items()}
        targets = {
            name: archive.read(own)[:]
            for name, own in arrays_of(archive.names, preprocessing.targets, str(path), "y").items()
        }
    arrays = cast_all(inputs, specs)
    equally_long({**arrays, **targets}, str(path))
    labels = {
        name: encode_labels(targets[name], layout.encoding, layout.classes, layout.class_names, f"target `{name}`")
        for name, layout in preprocessing.targets.items()
    }
    return Split(arrays, labels)


def arrays_in(path: Path) -> AbstractContextManager[Archive]:
    """An open file of arrays that have names."""
    if path.suffix.lower() == ".npz":
        return open_archive(path)
    from kerascli.sources.hdf5 import open_hdf5  # h5py takes long to import

    return open_hdf5(path)


def arrays_of(have: Sequence[str], wanted: Mapping[str, object], path: str, stem: str = "x") -> dict[str, str]:
    """Wanted name → array. One alone may be called `x`, `x_test`, or be the only array."""
    if all(name in have for name in wanted):
        return {name: name for name in wanted}
    if len(wanted) == 1:
        for own in (stem, f"{stem}_test", *(have if len(have) == 1 else ())):
            if own in have:
                return {next(iter(wanted)): own}
    absent = ", ".join(f"`{name}`" for name in wanted if name not in have)
    help = f"it has {', '.join(f'`{name}`' for name in have) or 'nothing'}"
    help += f"; name it `{stem}` or `{stem}_test`" * (len(wanted) == 1)
    raise Failure(Problem("E403", f"`{path}` has no array for {absent}", Path(path), help=help))


def archive_blocks(path: str, specs: Mapping[str, InputInfo], rows: int) -> Iterator[Arrays]:
    """The inputs in a file of arrays, so many rows at a time."""
    with arrays_in(Path(path)) as archive:
        found: dict[str, Samples] = {
            name: archive.read(own) for name, own in arrays_of(archive.names, specs, path).items()
        }
    for name, samples in found.items():
        if not isinstance(samples, Streamed):
            found[name] = with_samples(samples, name, specs[name])
    equally_long(found, path)
    for start in range(0, len(next(iter(found.values()))), rows):
        yield cast_all({name: samples[start : start + rows] for name, samples in found.items()}, specs)


def single(specs: Mapping[str, InputInfo], path: str) -> tuple[str, InputInfo]:
    if len(specs) > 1:
        raise Failure(
            Problem(
                "E403",
                f"`{path}` has one array, the network {len(specs)} inputs",
                Path(path),
                help=f"give an .npz with {', '.join(f'`{name}`' for name in specs)}",
            )
        )
    return next(iter(specs.items()))


def with_samples(array: Array, name: str, info: InputInfo) -> Array:
    """(n, …) as it is; a single sample gets a first axis, grey images a last one."""
    if array.shape[1:] == info.shape and array.ndim:
        require_rows(len(array), Path(name))
        return array
    if array.shape == info.shape:
        return array[None]
    if (*array.shape[1:], 1) == info.shape and array.ndim:
        return array[..., None]
    raise Failure(
        Problem(
            "E403",
            f"input `{name}` takes samples of shape {info.shape}, the array is {array.shape}",
            help=f"its shape should be (samples, {', '.join(map(str, info.shape))})",
        )
    )


def cast(values: Array, name: str, info: InputInfo) -> Array:
    """In the dtype that training had; what would lose its value is an error."""
    kind = served_dtype(values.dtype)
    if kind is None or (kind == "string") != (info.dtype == "string"):
        wanted = "texts" if info.dtype == "string" else "numbers"
        raise Failure(Problem("E402", f"input `{name}` takes {wanted}, the array is of dtype {values.dtype}"))
    if kind == "string":
        return served(values)
    if info.dtype == "float32" or values.dtype == info.dtype:
        return np.ascontiguousarray(served(values), info.dtype)
    limits = np.iinfo(info.dtype)
    with np.errstate(invalid="ignore"):
        exact = (values >= limits.min) & (values <= limits.max) & (values == np.floor(values))
    if not exact.all():
        value = values[~exact].flat[0]
        raise Failure(
            Problem(
                "E408",
                f"input `{name}` was trained on {info.dtype}; it cannot be {value}",
                help="give the data as they were before any scaling",
            )
        )
    return np.ascontiguousarray(values, info.dtype)


def cast_all(arrays: Arrays, specs: Mapping[str, InputInfo]) -> Arrays:
    return {name: cast(with_samples(array, name, specs[name]), name, specs[name]) for name, array in arrays.items()}


def equally_long(arrays: Mapping[str, Samples], path: str) -> None:
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"`{name}` {len(array):,}" for name, array in arrays.items())
        raise Failure(Problem("E403", f"the arrays of `{path}` differ in length: {lengths}", Path(path)))


def require_rows(rows: int, path: Path) -> None:
    if not rows:
        raise Failure(Problem("E403", f"`{path}` has no samples", path))
