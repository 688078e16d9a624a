"""Whether the engine keras can run here and on which of Keras's backends, found without loading any of them."""

from __future__ import annotations

import importlib.util
import os

BACKENDS = ("jax", "tensorflow", "torch")
"""Those that train; without `KERAS_BACKEND` the first that is installed."""
OLDEST = (3, 10)
"""Version of Keras."""
INSTALL = '`pip install "kerascli[keras]"`, or use the engine `numpy`'


def backend() -> str:
    """What `KERAS_BACKEND` says, else the first that is installed; empty where there is none."""
    return os.environ.get("KERAS_BACKEND") or next(filter(_installed, BACKENDS), "")


def fault() -> tuple[str, str, str] | None:
    """Why the engine cannot run: a code, what is wrong, and the mend."""
    name = backend()
    if not _installed("keras"):
        return "E516", "the engine `keras` needs the package `keras`, which is not installed", INSTALL
    if name not in ("", *BACKENDS):
        message = f"`KERAS_BACKEND` is `{name}`, and the engine `keras` trains on {', '.join(BACKENDS)}"
        return "E518", message, "set it to one of them, or unset it"
    if not name:
        return "E516", "Keras has nothing to compute with: neither JAX, TensorFlow nor PyTorch is installed", INSTALL
    if not _installed(name):
        mend = INSTALL if name == "jax" else f"`pip install {name}`, or unset `KERAS_BACKEND`"
        return "E516", f"`KERAS_BACKEND` is `{name}`, which is not installed", mend
    from importlib import metadata  # imports e-mail, archives and more

    version = metadata.version("keras")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        message = f"Keras {version} is installed, and the engine `keras` needs {'.'.join(map(str, OLDEST))} or later"
        return "E516", message, "`pip install --upgrade keras`"
    return None


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
