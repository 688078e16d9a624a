"""The one place that unpickles: NumPy arrays of Keras's own data sets, and nothing else, whatever the file says."""

import pickle
from typing import IO, Any

import numpy as np

from kerascli.ops.ir import Array

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
"""What a pickled array needs to be put together again; none of it can run anything."""


Refused = pickle.UnpicklingError
"""The file is no pickle, or holds more than arrays."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise Refused(f"it holds `{module}.{name}`, which no data set needs")
        if name == "_reconstruct":
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        return getattr(np, name)


def load(stream: IO[bytes]) -> Any:
    """Dictionaries, lists, numbers, texts, bytes and arrays; raises Refused for anything else."""
    return _ArraysOnly(stream, encoding="bytes").load()


def read_array(stream: IO[bytes]) -> Array:
    """An array of a .npy stream; one of Python objects (lists of numbers) is unpickled with care."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = read(stream)
    if dtype.hasobject:
        found = load(stream)
        if not isinstance(found, np.ndarray):
            raise Refused("it holds no array")
        return found
    stream.seek(0)
    array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array
