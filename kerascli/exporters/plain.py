"""What a prediction needs beyond NumPy's own functions, in plain NumPy.

The file that `--format numpy` writes holds the source of those functions that it calls, so each stands alone: it reads
NumPy, `math`, `itertools` and its neighbours here, and nothing else. They are written to be read, not to be fast.

Legend: n samples, T S steps, H W D extents, C channels, H units of a recurrent net.
"""

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray[Any, Any]
Sizes = tuple[int, ...]


# ---------------------------------------------------------------- windows
def windows_of(x: Array, kernel: Sizes, strides: Sizes, dilation: Sizes) -> Array:
    """Every window of x (n, H, W, C) as (n, a, b, C, kh, kw), and alike for more axes; a view."""
    axes = tuple(range(1, 1 + len(kernel)))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    found = sliding_window_view(x, reach, axes)
    starts = tuple(slice(None, None, s) for s in strides)
    return found[(slice(None), *starts, slice(None), *(slice(None, None, d) for d in dilation))]


def convolve(x: Array, kernel: Array, strides: Sizes, dilation: Sizes) -> Array:
    """x (n, H, W, C) with a kernel (kh, kw, C, O) → (n, a, b, O)"""
    size = kernel.ndim - 2
    patches = windows_of(x, kernel.shape[:size], strides, dilation)
    inner = (*range(size + 2, 2 * size + 2), size + 1)  # kh, kw, C
    y: Array = np.tensordot(patches, kernel, (inner, tuple(range(size + 1))))
    return y


def convolve_channels(x: Array, kernel: Array, strides: Sizes, dilation: Sizes) -> Array:
    """Every channel with a kernel of its own: (n, H, W, C) with (kh, kw, C) → (n, a, b, C)"""
    y: Array = np.einsum("nabcij,ijc->nabc", windows_of(x, kernel.shape[:2], strides, dilation), kernel)
    return y


def spread_windows(rows: Array, kernel: Sizes, strides: Sizes, dilation: Sizes, shape: Sizes) -> Array:
    """Rows (n, a, b, kh·kw·C) added up at the places of their windows in an array (n, H, W, C)."""
    y = np.zeros((len(rows), *shape), rows.dtype)
    parts = np.split(rows, math.prod(kernel), axis=-1)
    for place, part in zip(product(*map(range, kernel)), parts, strict=True):
        axes = zip(place, dilation, strides, rows.shape[1:-1], strict=True)
        y[(slice(None), *(slice(p * d, p * d + (size - 1) * s + 1, s) for p, d, s, size in axes))] += part
    return y


def max_pool(x: Array, pool: Sizes, strides: Sizes) -> Array:
    """The largest of every window, channel by channel."""
    ends = tuple(range(-len(pool), 0))
    return windows_of(x, pool, strides, (1,) * len(pool)).max(axis=ends)  # type: ignore[no-any-return]


def sum_pool(x: Array, pool: Sizes, strides: Sizes) -> Array:
    """The sum of every window, channel by channel."""
    ends = tuple(range(-len(pool), 0))
    return windows_of(x, pool, strides, (1,) * len(pool)).sum(axis=ends)  # type: ignore[no-any-return]


def pool_evenly(x: Array, axis: int, places: int, largest: bool) -> Array:
    """The largest, or the mean, of windows of nearly equal length along an axis."""
    size, parts = x.shape[axis], []
    for k in range(places):
        window = x.take(range(k * size // places, -(-(k + 1) * size // places)), axis)
        parts.append(window.max(axis, keepdims=True) if largest else window.mean(axis, keepdims=True))
    return np.concatenate(parts, axis)


# ---------------------------------------------------------------- activations
def sigmoid_of(x: Array) -> Array:
    """1 / (1 + exp(-x)), written so that nothing overflows."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def silu_of(x: Array) -> Array:
    return x * sigmoid_of(x)


def gelu_of(x: Array) -> Array:
    """x · Φ(x), Φ being the normal distribution's."""
    erf = np.vectorize(math.erf, otypes=[x.dtype])
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))  # type: ignore[no-any-return]


def elu_of(x: Array, alpha: float, scale: float, width: float) -> Array:
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / width))


def leaky_relu_of(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, slope * x)


def softmax_of(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)  # type: ignore[no-any-return]


def log_softmax_of(x: Array, axis: int) -> Array:
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))  # type: ignore[no-any-return]


def sparsemax_of(x: Array, axis: int) -> Array:
    """max(x - τ, 0) with Keras's τ: the sums of the largest numbers in the support, less one, over their count."""
    down = -np.sort(-np.moveaxis(x, axis, -1), axis=-1)
    sums = np.cumsum(down, axis=-1)
    support = down - (sums - 1) / np.arange(1, x.shape[axis] + 1) > 0
    threshold = (np.where(support, sums, 0).sum(-1, keepdims=True) - 1) / support.sum(-1, keepdims=True)
    return np.maximum(x - np.moveaxis(threshold, -1, axis), 0).astype(x.dtype)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- rows
def standardise(x: Array, axes: int, epsilon: float) -> Array:
    """Mean 0 and variance 1 over the last axes."""
    over = tuple(range(-axes, 0))
    x = x - x.mean(axis=over, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=over, keepdims=True) + epsilon)  # type: ignore[no-any-return]


def scale_rows(x: Array, axes: int, share: float, epsilon: float, floor: float) -> Array:
    """x / √max(share · Σx² + epsilon, floor), the sum over the last axes."""
    total = (x * x).sum(axis=tuple(range(-axes, 0)), keepdims=True)
    return x / np.sqrt(np.maximum(share * total + epsilon, floor))  # type: ignore[no-any-return]


def repeat_to(x: Array, shape: Sizes) -> Array:
    """Every sample repeated along the axes that it lacks or has once."""
    repeated: Array = np.broadcast_to(x, (len(x), *shape))
    return repeated


def take_rows(table: Array, ids: Array) -> Array:
    """Rows of a table by number; numbers outside the table mean its first or last row."""
    rows: Array = table.take(ids.astype(np.int64), axis=0, mode="clip")
    return rows


def one_hot_of(ids: Array, depth: int) -> Array:
    found: Array = (ids[..., None] == np.arange(depth)).astype(np.float32)
    return found


# ---------------------------------------------------------------- attention
def unpack_heads(z: Array, heads: int, groups: int, dim: int) -> tuple[Array, Array, Array]:
    """Queries, keys and values that lie side by side; beside each head's values lies a column that is not read."""
    a, b = heads * dim, groups * dim
    values = z[..., a + b :].reshape(*z.shape[:2], groups, -1)[..., :-1]
    return z[..., :a], z[..., a : a + b], values


def attend(q: Array, k: Array, v: Array, heads: int, groups: int, mask: Array | None, dead: str) -> Array:
    """What each query reads of the values: softmax(Q Kᵀ) V, head by head; the queries are already scaled.

    Heads of a group share keys and values. A query whose keys are all masked reads the `mean` of all values, or `zero`.
    """
    n, steps, keys = len(q), q.shape[1], k.shape[1]
    q = q.reshape(n, steps, heads, -1).transpose(0, 2, 1, 3)  # (n, heads, T, D)
    k = k.reshape(n, keys, groups, -1).transpose(0, 2, 3, 1).repeat(heads // groups, axis=1)  # (n, heads, D, S)
    v = v.reshape(n, keys, groups, -1).transpose(0, 2, 1, 3).repeat(heads // groups, axis=1)  # (n, heads, S, F)
    scores = q @ k
    if mask is not None:
        mask = np.broadcast_to(mask.astype(bool), scores.shape)
        scores = np.where(mask, scores, np.float32(-np.inf))
        if dead:
            scores = np.where(mask.any(axis=-1, keepdims=True), scores, np.float32(0))
    y = softmax_of(scores, -1) @ v
    if mask is not None and dead == "zero":
        y = y * mask.any(axis=-1, keepdims=True)
    return y.transpose(0, 2, 1, 3).reshape(n, steps, -1)


# ---------------------------------------------------------------- recurrent nets: arrays are (T, n, features)
def run_simple_rnn(z: Array, u: Array, h: Array | None, mask: Array | None, backwards: bool) -> tuple[Array, Array]:
    """h ← tanh(z + h U) for every step of the projected inputs z; all states (T, n, H), and the last."""
    states = np.zeros((*z.shape[:2], len(u)), z.dtype)
    h = states[0] if h is None else h
    for t in reversed(range(len(z))) if backwards else range(len(z)):
        new = np.tanh(z[t] + h @ u)
        h = new if mask is None else np.where(mask[t][:, None], new, h)
        states[t] = h
    return states, h


def run_lstm(
    z: Array, u: Array, h: Array | None, c: Array | None, mask: Array | None, backwards: bool
) -> tuple[Array, Array, Array]:
    """i, f, g, o from z + h U; c ← f c + i g; h ← o tanh(c). All states (T, n, H), the last one, the last c."""
    states = np.zeros((*z.shape[:2], len(u)), z.dtype)
    h = states[0] if h is None else h
    c = np.zeros_like(h) if c is None else c
    for t in reversed(range(len(z))) if backwards else range(len(z)):
        i, f, g, o = np.split(z[t] + h @ u, 4, axis=-1)
        new_c = sigmoid_of(f) * c + sigmoid_of(i) * np.tanh(g)
        new_h = sigmoid_of(o) * np.tanh(new_c)
        keep = True if mask is None else mask[t][:, None]
        h, c = np.where(keep, new_h, h), np.where(keep, new_c, c)
        states[t] = h
    return states, h, c


def run_gru(
    z: Array, u: Array, b: Array | None, h: Array | None, mask: Array | None, backwards: bool
) -> tuple[Array, Array]:
    """z, r from z + h U + b; c = tanh(z + r (h U + b)); h ← z h + (1 − z) c. All states (T, n, H), and the last."""
    states = np.zeros((*z.shape[:2], len(u)), z.dtype)
    h = states[0] if h is None else h
    for t in reversed(range(len(z))) if backwards else range(len(z)):
        xz, xr, xc = np.split(z[t], 3, axis=-1)
        hz, hr, hc = np.split(h @ u if b is None else h @ u + b, 3, axis=-1)
        update, reset = sigmoid_of(xz + hz), sigmoid_of(xr + hr)
        new = update * h + (1 - update) * np.tanh(xc + reset * hc)
        h = new if mask is None else np.where(mask[t][:, None], new, h)
        states[t] = h
    return states, h


# ---------------------------------------------------------------- images
def equalise_tiles(x: Array, tiles: tuple[int, int], clip_limit: float) -> Array:
    """Levels 0…255 spread evenly within tiles; between the centres of tiles, by distance (CLAHE)."""
    n, height, width, channels = x.shape
    sides = (height // tiles[0], width // tiles[1])
    levels = np.clip(x, 0, 255).astype(np.int64)
    table = np.zeros((n, *tiles, channels, 256), x.dtype)
    image, row, column, channel = np.ogrid[:n, :height, :width, :channels]
    np.add.at(table, (image, row // sides[0], column // sides[1], channel, levels), 1)
    area = sides[0] * sides[1]
    if clip_limit > 0:
        limit = np.float32(clip_limit * area / 256)
        over = np.maximum(table - limit, 0).sum(axis=-1, keepdims=True)
        table = np.minimum(table, limit) + over / 256
    table = table.cumsum(axis=-1)
    rest = area - table[..., :1]
    table = np.clip((table - table[..., :1]) * 255 / np.where(rest == 0, 1, rest), 0, 255)
    y = np.zeros_like(x)
    places = [(np.arange(size) - side / 2) / side for size, side in zip((height, width), sides, strict=True)]
    for a, b in product((0, 1), (0, 1)):
        ends = zip(places, (a, b), tiles, strict=True)
        r, c = (np.clip(np.floor(p) + end, 0, count - 1).astype(np.int64) for p, end, count in ends)
        share_r, share_c = (np.abs(1 - end - (p - np.floor(p))) for p, end in zip(places, (a, b), strict=True))
        share = (share_r[:, None] * share_c)[:, :, None].astype(x.dtype)
        y += share * table[image, r[row], c[column], channel, levels]
    return y
