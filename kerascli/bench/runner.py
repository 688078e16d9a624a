"""The side that waits: it starts each contestant, asks for rounds in turn, and stops whoever is not asked.

All contestants stay alive, so that every round is one of the steady state, and rounds are interleaved, so that a change
of the machine's pace meets all alike. A contestant that waits is suspended: its worker threads cannot spin.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kerascli import keras_config, keras_files
from kerascli.adaptation import adapt
from kerascli.bench.job import CONTESTANTS, WEIGHTS, Job, Node
from kerascli.bench.report import Report, Result
from kerascli.check import Checked, check
from kerascli.engine.team import cores
from kerascli.graph import Graph
from kerascli.layers.structure import _Entry, _Exit
from kerascli.model import Model
from kerascli.runner import Runner
from kerascli.training import read_data

SAMPLES = 12800
"""Samples of an epoch, at most, unless more are asked for."""
TAIL = 2000
"""Characters of a failed contestant's last words that are shown."""

Say = Callable[[str], None]


def bench(
    path: Path,
    settings: Sequence[str] = (),
    rounds: int = 5,
    threads: int | None = None,
    contestants: Sequence[str] = tuple(CONTESTANTS),
    samples: int | None = None,
    say: Say = lambda text: None,
    cpu: bool = False,
) -> Report:
    """Train a spec on each contestant that is installed; the spec's callbacks and validation are left out.

    With `cpu`, Keras's backends see no GPU or TPU.
    """
    threads = min(threads or cores(), cores())
    whole = check(path, settings)
    settings = (*settings, *_reduced(whole, samples, rounds))
    checked = check(path, settings)
    spec = checked.loaded.spec
    count = checked.signature.sizes["train"]
    machine = _machine()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kerascli-bench-")))
        _prepare(checked, settings, threads, folder)
        results, running = [], []
        for name in contestants:
            result = Result(name, "ran", count)
            results.append(result)
            if lacking := _lacking(name):
                result.status, result.reason = "not installed", f"no {' and no '.join(lacking)} in this Python"
                continue
            say(f"{name}: start and first epoch")
            _read_packages(name, cpu)
            child = stack.enter_context(Child(result, folder, threads, cpu))
            if child.begin():
                running.append(child)
        for number in range(rounds):
            for child in running:
                say(f"round {number + 1} of {rounds}: {child.result.name}")
                child.round()
    batch = min(spec.training.batch_size, count)
    epochs, length = _training(whole)
    return Report(spec.name, count, batch, threads, rounds, epochs, length, machine, results)


def _training(found: Checked) -> tuple[int, int]:
    """The epochs of a spec, and the samples that each of them trains on."""
    training, count = found.loaded.spec.training, found.signature.sizes["train"]
    steps = training.steps_per_epoch
    return training.epochs, count if steps is None else min(count, steps * training.batch_size)


def _reduced(found: Checked, samples: int | None, rounds: int) -> list[str]:
    """Overrides to full batches alone, and as many epochs as will be asked for."""
    training = found.loaded.spec.training
    count = min(samples or SAMPLES, found.signature.sizes["train"])
    if count > training.batch_size:
        count -= count % training.batch_size
    more = [] if training.steps_per_epoch is None else ["training.steps_per_epoch=null"]
    return [f"dataset.limit={count}", f"training.epochs={rounds + 1}", *more]


def _prepare(checked: Checked, settings: Sequence[str], threads: int, folder: Path) -> None:
    """Write what contestants read: the model as Keras writes it, and the very arrays that the engine trains on."""
    model, spec = Model.of(checked), checked.loaded.spec
    graph, train = checked.graph, read_data(model).train
    runner = Runner(model, 1)
    adapted = any(hasattr(node.layer, "adapt") for node in graph.nodes)
    if adapted:
        runner.initialise()
        adapt(runner, train)
        keras_files.save_weights(folder / WEIGHTS, graph, runner.parameters.weights, spec.name)
    weights = runner.weights_of(train, balance=True)
    job = Job(
        spec=str(checked.loaded.path.resolve()),
        settings=tuple(settings),
        threads=threads,
        batch=min(spec.training.batch_size, len(train)),
        shuffle=spec.training.shuffle,
        model=keras_config.model(graph, spec.name, keras_config.compiled(spec)),
        nodes=_nodes(graph),
        inputs=graph.inputs,
        outputs=tuple(_source(graph, name) for name in graph.outputs),
        weighted=bool(weights),
        adapted=adapted,
    )
    arrays = {
        "x": [train.inputs[name][:] for name in graph.inputs],
        "y": [train.targets[name][:] for name in graph.outputs],
        "w": [weights[name] for name in graph.outputs] if weights else [],
    }
    job.write(folder, arrays)


def _nodes(graph: Graph) -> tuple[Node, ...]:
    """Every layer; nested models are written out."""
    found = []
    for node in graph.nodes:
        if isinstance(node.layer, (_Entry, _Exit)):
            continue
        shapes = [graph.node(name).shape for name in node.inputs]
        config = keras_config.layer(node.layer, node.name, shapes, node.trainable)["config"] if node.inputs else {}
        kind = "Reuse" if node.shared else type(node.layer).__name__
        inputs = tuple(_source(graph, name) for name in node.inputs)
        found.append(Node(node.name, kind, inputs, node.shape, config))
    return tuple(found)


def _source(graph: Graph, name: str) -> str:
    """The layer that a nested model's input or output passes on."""
    node = graph.node(name)
    return _source(graph, node.inputs[0]) if isinstance(node.layer, (_Entry, _Exit)) else name


def _lacking(name: str) -> list[str]:
    return [package for package in CONTESTANTS[name][1] if importlib.util.find_spec(package) is None]


def _read_packages(name: str, cpu: bool) -> None:
    """Import them once, so that no contestant's start is timed with its files still on the disk."""
    words = f"import {', '.join(CONTESTANTS[name][1])}"
    quiet = subprocess.DEVNULL
    subprocess.run([sys.executable, "-c", words], env=_environment(name, cpu), stdin=quiet, stdout=quiet, stderr=quiet)


class Child:
    """The process of one contestant, suspended except while it is asked for something."""

    def __init__(self, result: Result, folder: Path, threads: int, cpu: bool) -> None:
        self.result = result
        self._words = (folder / f"{result.name}.log").open("w+", encoding="utf-8", errors="replace")
        module = CONTESTANTS[result.name][0]
        command = [sys.executable, "-m", "kerascli.bench.contestant", module, str(folder), str(threads)]
        # A process group of its own can be suspended with its workers.
        group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=_environment(result.name, cpu),
            text=True,
            encoding="utf-8",
            **group,
        )

    def begin(self) -> bool:
        """Wait for the first epoch; whether there will be rounds."""
        answer = self._answer()
        if answer and answer["event"] == "declined":
            self.result.status, self.result.reason = "not translated", answer["reason"]
        if not answer or answer["event"] != "ready":
            return False
        self.result.first_epoch_seconds = time.perf_counter() - self._began
        self.result.versions = answer["facts"]
        self._signal("SIGSTOP")
        return True

    def round(self) -> None:
        """Ask for one round."""
        if self.result.status != "ran":
            return
        self._signal("SIGCONT")
        with suppress(OSError):
            assert self._process.stdin
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        if answer := self._answer():
            self.result.seconds.append(answer["seconds"])
            self.result.loss, self.result.peak_bytes = answer["loss"], answer["peak_bytes"]
            self._signal("SIGSTOP")

    def _answer(self) -> dict[str, Any] | None:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        self._words.seek(0)
        self.result.status = "failed"
        self.result.reason = f"ended with code {code}\n{self._words.read()[-TAIL:].strip()}"
        self.result.seconds.clear()
        return None

    def _signal(self, name: str) -> None:
        """To all its processes; systems without such signals let it wait on its input."""
        if hasattr(signal, name):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, getattr(signal, name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signal("SIGKILL")
        self._process.kill()
        self._process.communicate()
        self._words.close()


def _environment(name: str, cpu: bool) -> dict[str, str]:
    """As this process found itself, with this very kerascli."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if name.startswith("keras-"):
        found["KERAS_BACKEND"] = name.removeprefix("keras-")
        if cpu:
            found |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        found.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return found


def _machine() -> dict[str, Any]:
    """Where it runs, and how busy that is: figures of a busy machine are worth little."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        return {"processor": processor, "cores": os.cpu_count(), "load": load, "python": platform.python_version()}
    processor = platform.processor() or platform.machine()
    return {"processor": processor, "cores": os.cpu_count(), "load": load, "python": platform.python_version()}
