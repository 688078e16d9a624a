"""What a training came to: its figures against the bounds of `expect:`, as data and as JUnit XML for CI."""

from __future__ import annotations

import errno
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kerascli import files
from kerascli.run import History, Run
from kerascli.runner import Logs
from kerascli.spec import Spec

PREFIXES = {"test": "test", "validation": "val", "train": "train"}


@dataclass(frozen=True)
class Expectation:
    """One bound of `expect:` and what was found."""

    figure: str
    bound: str
    found: float | None
    met: bool


@dataclass
class Outcome:
    """What a training came to."""

    run: Path
    epochs: int
    seconds: float
    """Of all the processes that trained it."""
    metrics: dict[str, Logs]
    """The final evaluation, by split."""
    best_epoch: int | None
    expectations: list[Expectation] = field(default_factory=list)
    data_wait: dict[str, float] = field(default_factory=dict)
    """`seconds` that steps waited for samples to be read, and their `share` of the time of all steps."""

    @property
    def met(self) -> bool:
        return all(e.met for e in self.expectations)

    def facts(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "run": str(self.run),
            "epochs": self.epochs,
            "seconds": round(self.seconds, 3),
            "best_epoch": self.best_epoch,
            "metrics": self.metrics,
            "expect": [asdict(e) for e in self.expectations],
            "data_wait": self.data_wait,
        }


def of_completed(run: Run, metrics: dict[str, Logs]) -> Outcome:
    """The outcome of a run that is completed already."""
    facts = run.facts
    found = [Expectation(e["figure"], e["bound"], e["found"], e["met"]) for e in facts.get("expect") or ()]
    reached = (facts["epochs"], facts["seconds"], metrics, facts.get("best_epoch"))
    return Outcome(run.path, *reached, found, facts.get("data_wait") or {})


def figures(outcome: Outcome, history: History) -> dict[str, float]:
    """All figures of a run: `test_…`, `val_…` and `train_…` of the final evaluation, the last epoch's logs."""
    last = history.rows[-1] if history.rows else {}
    found = {name: value for name, value in last.items() if value is not None}
    found["seconds"] = outcome.seconds
    for split, logs in outcome.metrics.items():
        found |= {f"{PREFIXES[split]}_{name}": value for name, value in logs.items()}
    return found


def expectations(spec: Spec, outcome: Outcome, history: History) -> list[Expectation]:
    """`expect:` against the figures."""
    known = figures(outcome, history)
    found = []
    for figure, bound in spec.bounds().items():
        value = known.get(figure)
        met = value is not None and bound.holds(value)
        found.append(Expectation(figure, f"{bound.sign} {bound.limit:g}", value, met))
    return found


def require_place(path: Path) -> None:
    """Raise E501, before anything is trained, where a report could not be written."""
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def write_junit(path: Path, name: str, outcome: Outcome) -> None:
    """A JUnit report, as CI services read it: a test for each bound, and one that says that the training ended."""
    found = outcome.expectations
    missed = sum(not e.met for e in found)
    counts = {"tests": str(len(found) + 1), "failures": str(missed), "errors": "0", "time": f"{outcome.seconds:.3f}"}
    suites = ElementTree.Element("testsuites", {"name": "kerascli", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _printable(name), **counts})
    _case(suite, name, f"trained {outcome.epochs} epochs", outcome.seconds)
    for e in found:
        case = _case(suite, name, f"{e.figure} {e.bound}")
        value = "nothing" if e.found is None else f"{e.found:.6g}"
        if not e.met:
            message = f"expected {e.figure} {e.bound}, found {value}"
            ElementTree.SubElement(case, "failure", {"message": message, "type": "expect"}).text = str(outcome.run)
        else:
            ElementTree.SubElement(case, "system-out").text = f"found {value}"
    ElementTree.indent(suites)
    files.write_bytes(path, ElementTree.tostring(suites, "utf-8", xml_declaration=True) + b"\n")


def _case(suite: ElementTree.Element, name: str, what: str, seconds: float = 0.0) -> ElementTree.Element:
    about: Mapping[str, str] = {"classname": _printable(name), "name": _printable(what), "time": f"{seconds:.3f}"}
    return ElementTree.SubElement(suite, "testcase", dict(about))


def _printable(text: str) -> str:
    """Text that XML can hold."""
    return "".join(c if c.isprintable() else "?" for c in text)
