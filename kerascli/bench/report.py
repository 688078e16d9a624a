"""What a bench found: medians, spreads and ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Status = Literal["ran", "not installed", "not translated", "failed"]


@dataclass
class Result:
    """One contestant. Only one that ran has figures."""

    name: str
    status: Status
    samples: int
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    """Of each round: one epoch in the steady state."""
    first_epoch_seconds: float | None = None
    """From the start of the process to the end of its first epoch: imports, data, compilation and all."""
    peak_bytes: int | None = None
    loss: float | None = None
    """Of the last round; all contestants have trained as long."""

    @property
    def speed(self) -> float | None:
        """Samples a second: the median of the rounds."""
        return self.samples / median(self.seconds) if self.seconds else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The slowest and the fastest round, in samples a second."""
        return (self.samples / max(self.seconds), self.samples / min(self.seconds)) if self.seconds else None

    def estimate(self, samples: int) -> float | None:
        """Seconds that training on so many samples would take: the start, then the median speed."""
        if not self.speed or self.first_epoch_seconds is None:
            return None
        start = max(self.first_epoch_seconds - self.samples / self.speed, 0.0)
        return start + samples / self.speed


@dataclass(frozen=True)
class Report:
    """All contestants of one command."""

    spec: str
    samples: int
    batch: int
    threads: int
    rounds: int
    epochs: int
    """Of the spec, as are the samples of an epoch below."""
    epoch_samples: int
    machine: Mapping[str, Any]
    results: Sequence[Result]

    def named(self, name: str) -> Result | None:
        return next((r for r in self.results if r.name == name and r.speed), None)

    @property
    def best_keras(self) -> Result | None:
        """The Keras backend with the highest median speed."""
        found = [r for r in self.results if r.name.startswith("keras-") and r.speed]
        return max(found, key=lambda r: r.speed or 0.0, default=None)

    @property
    def failed(self) -> bool:
        return any(r.status == "failed" for r in self.results)

    def estimates(self) -> dict[str, float]:
        """Seconds that the spec's whole training would take, by engine, the shortest first; plain PyTorch is none."""
        engines = [r for r in self.results if r.name == "numpy" or r.name.startswith("keras-")]
        found = {r.name: s for r in engines if (s := r.estimate(self.epochs * self.epoch_samples)) is not None}
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def advice(self) -> str:
        """The engine to take for this spec on this machine, and why."""
        found = self.estimates()
        if not found:
            return ""
        best, *others = found
        option = "--engine numpy" if best == "numpy" else f"KERAS_BACKEND={best.removeprefix('keras-')} --engine keras"
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs:,} epochs"
        text = (
            f"recommended here: {option}: {epochs} of {self.epoch_samples:,} samples in about {duration(found[best])}"
        )
        return text + "".join(f", with {name} in {duration(found[name])}" for name in others[:1])

    def ratio(self, result: Result, to: Result | None) -> float | None:
        """How many times as fast as another."""
        return result.speed / to.speed if to and result.speed and to.speed else None

    def facts(self) -> dict[str, Any]:
        """As one JSON document."""
        best, numpy = self.best_keras, self.named("numpy")
        keys = ("spec", "samples", "batch", "threads", "rounds", "epochs", "epoch_samples", "machine")
        common = {key: getattr(self, key) for key in keys}
        estimates = self.estimates()
        entries = []
        for r in self.results:
            low, high = r.spread or (None, None)
            entries.append(
                {
                    "name": r.name,
                    "status": r.status,
                    "reason": r.reason,
                    "versions": r.versions,
                    "seconds": r.seconds,
                    "samples_per_second": {"median": r.speed, "min": low, "max": high},
                    "ratio_to_numpy": self.ratio(r, numpy),
                    "ratio_to_best_keras": self.ratio(r, best),
                    "first_epoch_seconds": r.first_epoch_seconds,
                    "peak_bytes": r.peak_bytes,
                    "training_seconds": estimates.get(r.name),
                    "loss": r.loss,
                }
            )
        found = {"best_keras": best.name if best else None, "recommended": next(iter(estimates), None)}
        return {**common, **found, "contestants": entries}

    def rows(self) -> list[tuple[str, ...]]:
        """The table's rows below `COLUMNS`."""
        best, numpy = self.best_keras, self.named("numpy")
        return [
            (
                r.name,
                shown(r.speed, "{:,.0f}") or r.status,
                "–".join(f"{s:,.0f}" for s in r.spread or ()),
                shown(self.ratio(r, numpy), "{:.2f}×"),
                shown(self.ratio(r, best), "{:.2f}×"),
                shown(r.first_epoch_seconds, "{:.1f} s"),
                shown(r.peak_bytes and r.peak_bytes / 2**20, "{:,.0f} MB"),
                shown(r.loss, "{:.4f}"),
            )
            for r in self.results
        ]

    def heading(self) -> str:
        """What was measured, and on what."""
        cores = "core" if self.threads == 1 else "cores"
        return (
            f"{self.spec}: {self.samples:,} samples, batch {self.batch}, float32, "
            f"{self.threads} {cores} of {self.machine['processor']}, median of {self.rounds} interleaved rounds"
        )


COLUMNS = ("engine", "samples/s", "slowest–fastest", "to numpy", "to best Keras", "first epoch", "peak memory", "loss")


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2.5 h`: an estimate deserves no more digits."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
