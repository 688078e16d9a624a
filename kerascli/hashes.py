"""64-bit hashes of texts that agree with TensorFlow's: FarmHash's Fingerprint64, SipHash-2-4, and its cross of two.

All work on arrays of unsigned 64-bit numbers, whose arithmetic wraps around: texts of one length are hashed together.
Sources: G. Pike, FarmHash (the portable `farmhashna`); J.-P. Aumasson and D. J. Bernstein, SipHash, 2012.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kerascli.ops.ir import Array

K0, K1, K2 = np.uint64(0xC3A5C85C97CB3127), np.uint64(0xB492B66FBE98F273), np.uint64(0x9AE16A3B2F90404F)
CROSS = np.uint64(0xC6A4A7935BD1E995)
CROSS_KEY = np.uint64(0xDECAFCAFFE)
"""The key that TensorFlow's cross of features begins with."""
Pair = tuple[Array, Array]


def fingerprints(texts: Sequence[bytes]) -> Array:
    """FarmHash's Fingerprint64 of every text."""
    return _by_length(texts, _farm)


def salted(texts: Sequence[bytes], key: tuple[int, int]) -> Array:
    """SipHash-2-4 of every text under a key of two numbers."""
    return _by_length(texts, lambda data: _sip(data, key))


def cross(values: Sequence[Array]) -> Array:
    """One number for the numbers of several features, each given by its fingerprint (a text) or itself (a number)."""
    result = np.full(values[0].shape, CROSS_KEY)
    for value in values:
        mixed = result ^ CROSS ^ (_fold(value * CROSS, 47) * CROSS)
        result = _fold(_fold(mixed * CROSS, 47) * CROSS, 47)
    return result


def _by_length(texts: Sequence[bytes], rule: Callable[[Array], Array]) -> Array:
    """The rule on the (texts, length) bytes of all texts of each length."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    found = np.empty(len(texts), np.uint64)
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        joined = b"".join(texts[place] for place in places.tolist())
        found[places] = rule(np.frombuffer(joined, np.uint8).reshape(len(places), length))
    return found


# ── FarmHash ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _farm(data: Array) -> Array:
    length = data.shape[1]
    if length <= 16:
        return _farm_16(data)
    if length <= 32:
        return _farm_32(data)
    return _farm_64(data) if length <= 64 else _farm_long(data)


def _farm_16(data: Array) -> Array:
    length = data.shape[1]
    factor = K2 + np.uint64(2 * length)
    if length >= 8:
        a, b = _eight(data, 0) + K2, _eight(data, length - 8)
        return _mix(_turn(b, 37) * factor + a, (_turn(a, 25) + b) * factor, factor)
    if length >= 4:
        return _mix(np.uint64(length) + (_four(data, 0) << np.uint64(3)), _four(data, length - 4), factor)
    if length:
        first, middle, last = (data[:, k].astype(np.uint64) for k in (0, length // 2, length - 1))
        y = first + (middle << np.uint64(8))
        z = np.uint64(length) + (last << np.uint64(2))
        return _fold(y * K2 ^ z * K0, 47) * K2
    return np.full(len(data), K2)


def _farm_32(data: Array) -> Array:
    length = data.shape[1]
    factor = K2 + np.uint64(2 * length)
    a, b = _eight(data, 0) * K1, _eight(data, 8)
    c, d = _eight(data, length - 8) * factor, _eight(data, length - 16) * K2
    return _mix(_turn(a + b, 43) + _turn(c, 30) + d, a + _turn(b + K2, 18) + c, factor)


def _farm_64(data: Array) -> Array:
    length = data.shape[1]
    factor = K2 + np.uint64(2 * length)
    a, b = _eight(data, 0) * K2, _eight(data, 8)
    c, d = _eight(data, length - 8) * factor, _eight(data, length - 16) * K2
    y = _turn(a + b, 43) + _turn(c, 30) + d
    z = _mix(y, a + _turn(b + K2, 18) + c, factor)
    e, f = _eight(data, 16) * factor, _eight(data, 24)
    g, h = (y + _eight(data, length - 32)) * factor, (z + _eight(data, length - 24)) * factor
    return _mix(_turn(e + f, 43) + _turn(g, 30) + h, e + _turn(f + a, 18) + g, factor)


def _farm_long(data: Array) -> Array:
    """A state of 56 bytes takes in 64 bytes at a time; the last 64 bytes come once more at the end."""
    length, seed, zeros = data.shape[1], np.full(len(data), np.uint64(81)), np.zeros(len(data), np.uint64)
    y = seed * K1 + np.uint64(113)
    z = _fold(y * K2 + np.uint64(113), 47) * K2
    v, w = (zeros, zeros), (zeros, zeros)
    x = seed * K2 + _eight(data, 0)
    end = (length - 1) // 64 * 64
    for start in range(0, end, 64):
        x = _turn(x + y + v[0] + _eight(data, start + 8), 37) * K1
        y = _turn(y + v[1] + _eight(data, start + 48), 42) * K1
        x, y = x ^ w[1], y + v[0] + _eight(data, start + 40)
        z = _turn(z + w[0], 33) * K1
        v = _weak(data, start, v[1] * K1, x + w[0])
        w = _weak(data, start + 32, z + w[1], y + _eight(data, start + 16))
        z, x = x, z
    factor, last = K1 + ((z & np.uint64(0xFF)) << np.uint64(1)), length - 64
    w = (w[0] + np.uint64((length - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x = _turn(x + y + v[0] + _eight(data, last + 8), 37) * factor
    y = _turn(y + v[1] + _eight(data, last + 48), 42) * factor
    x, y = x ^ w[1] * np.uint64(9), y + v[0] * np.uint64(9) + _eight(data, last + 40)
    z = _turn(z + w[0], 33) * factor
    v = _weak(data, last, v[1] * factor, x + w[0])
    w = _weak(data, last + 32, z + w[1], y + _eight(data, last + 16))
    z, x = x, z
    return _mix(
        _mix(v[0], w[0], factor) + _fold(y, 47) * K0 + z,
        _mix(v[1], w[1], factor) + x,
        factor,
    )


def _weak(data: Array, start: int, a: Array, b: Array) -> Pair:
    """Two numbers from 32 bytes and two seeds."""
    first, second, third, fourth = (_eight(data, start + k) for k in (0, 8, 16, 24))
    a = a + first
    b = _turn(b + a + fourth, 21)
    c = a + second + third
    return c + fourth, b + _turn(c, 44) + a


def _mix(u: Array, v: Array, factor: Array | np.uint64) -> Array:
    a = _fold((u ^ v) * factor, 47)
    return _fold((v ^ a) * factor, 47) * factor


def _eight(data: Array, start: int) -> Array:
    """Eight bytes of every row as a number, the lowest first."""
    return np.ascontiguousarray(data[:, start : start + 8]).view("<u8")[:, 0].astype(np.uint64)


def _four(data: Array, start: int) -> Array:
    return np.ascontiguousarray(data[:, start : start + 4]).view("<u4")[:, 0].astype(np.uint64)


def _turn(x: Array, by: int) -> Array:
    """Bits turned to the right."""
    turned: Array = (x >> np.uint64(by)) | (x << np.uint64(64 - by))
    return turned


def _fold(x: Array, by: int) -> Array:
    folded: Array = x ^ (x >> np.uint64(by))
    return folded


# ── SipHash ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sip(data: Array, key: tuple[int, int]) -> Array:
    rows, length = data.shape
    words = np.zeros((rows, length // 8 + 1, 8), np.uint8)
    words.reshape(rows, -1)[:, :length] = data
    words[:, -1, 7] = length & 0xFF
    low, high = (np.uint64(part % 2**64) for part in key)
    starts = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    state = [np.full(rows, np.uint64(s) ^ k) for s, k in zip(starts, (low, high, low, high), strict=True)]
    for number in range(words.shape[1]):
        word = words[:, number].view("<u8")[:, 0].astype(np.uint64)
        state[3] = state[3] ^ word
        state = _rounds(state, 2)
        state[0] = state[0] ^ word
    state[2] = state[2] ^ np.uint64(0xFF)
    state = _rounds(state, 4)
    result: Array = state[0] ^ state[1] ^ state[2] ^ state[3]
    return result


def _rounds(state: list[Array], count: int) -> list[Array]:
    a, b, c, d = state
    for _ in range(count):
        a, c = a + b, c + d
        b, d = _turn(b, 64 - 13) ^ a, _turn(d, 64 - 16) ^ c
        a = _turn(a, 32)
        a, c = a + d, c + b
        d, b = _turn(d, 64 - 21) ^ a, _turn(b, 64 - 17) ^ c
        c = _turn(c, 32)
    return [a, b, c, d]
