"""What `validate` lets pass can be built, planned and run: specs with random faults, each as it stands for one step."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli import keras_config, yamltext
from kerascli.activations import Activation
from kerascli.check import Checked, checked
from kerascli.component import Component
from kerascli.errors import Failure
from kerascli.feed import Batch
from kerascli.layer import Layer
from kerascli.losses.base import Loss
from kerascli.metrics.base import Metric
from kerascli.model import Model
from kerascli.optimizers.base import Optimizer
from kerascli.program.build import evaluation_program, training_program
from kerascli.runner import Averages, Runner
from kerascli.spec import Loaded, read
from tests.layer_cases import layers

Config = dict[str, Any]
ROWS = 4
SPECS = 120
"""A few of the thousands that were tried when this was written."""
LARGEST = 200_000
"""Numbers in the weights of a net, and in a value, that is run."""


def choices(family: type[Component]) -> list[Config]:
    """Every member with every example."""
    members = {id(member): member for member in family.names().values()}.values()
    return [{"type": m.__name__, **example.config} for m in members for example in m.examples]


def net(layer: Config, shape: list[int], whole: bool) -> Config:
    """A classifier that begins with a layer."""
    kind = "sequences" if whole else "classification"
    return {
        "dataset": {"type": "synthetic", "kind": kind, "samples": 12, "shape": shape, "classes": 3},
        "layers": [layer, "Flatten", {"type": "Dense", "units": 3, "activation": "softmax"}],
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
        "training": {"batch_size": ROWS},
    }


def nets() -> list[Config]:
    """One for each example of a layer that reads one input."""
    return [
        net({"type": member.__name__, **example.config}, list(example.inputs[0]), not example.dtype.startswith("float"))
        for member in layers()
        for example in member.examples
        if len(example.inputs) == 1
    ]


def spoilt(spec: Config, rng: random.Random) -> Config:
    """The spec with one thing changed, left out or added."""
    spec = copy.deepcopy(spec)
    stack = spec["layers"]
    place = rng.randrange(len(stack))
    match rng.randrange(8):
        case 0:
            del stack[place]
        case 1:
            stack.insert(place, copy.deepcopy(rng.choice(choices(Layer))))
        case 2:
            stack.insert(place, rng.choice([{"type": "Masking"}, {"type": "BatchNormalization"}]))
        case 3:
            spec["loss"] = rng.choice(choices(Loss))
        case 4:
            spec[rng.choice(["metrics", "weighted_metrics"])] = [rng.choice(choices(Metric))]
        case 5:
            spec["optimizer"] = rng.choice(choices(Optimizer))
        case 6:
            stack[-1] = {"type": "Dense", "units": 3, "activation": rng.choice(choices(Activation))}
        case 7:
            spec["dataset"]["shape"] = rng.choice([[4], [6, 3], [8, 8, 1]])
    return spec


def look(spec: Config) -> Checked:
    """What `validate` does; a Failure is its answer."""
    path = Path("spec.yaml")
    document = yamltext.parse(yamltext.dump(spec), str(path))
    return checked(Loaded(read(document, path), document, path))


def run(found: Checked) -> None:
    """All that training does before data are read, and a step on made-up data."""
    model = Model.of(found)
    graph = model.graph.computed
    keras_config.model(model.graph, "net", keras_config.compiled(model.spec))
    programs = [training_program(graph, model.targets, True), evaluation_program(graph, model.targets, False)]
    sizes = [value.size for program in programs for value in program.trace.values]
    if max(sizes) > LARGEST or graph.count() > LARGEST or any(graph.node(n).dtype == "string" for n in graph.inputs):
        return
    rows = graph.batch or ROWS
    runner = Runner(model, 1, trains=True, processes=False)
    feed = {f"x:{name}": _made(rows, graph.node(name).shape, graph.node(name).dtype) for name in graph.inputs}
    feed |= {f"y:{name}": _made(rows, target.shape, target.dtype) for name, target in model.targets.items()}
    truths = {name: feed[f"y:{name}"] for name in model.targets}
    feed |= {f"w:{name}": np.ones(rows, np.float32) for name in model.targets}
    with runner.session as session:
        runner.initialise()
        jobs = [session.add_program(program, rows) for program in programs]
        number = session.add_feed(feed)
        for job in jobs:
            done = session.run(job, number, np.arange(rows), 0, 0.01)
            averages = Averages(model)
            averages.add(session, done, Batch(np.arange(rows), truths, np.ones(rows, np.float32)))
            averages.logs()


def _made(rows: int, shape: tuple[int, ...], dtype: str) -> Any:
    rng = np.random.default_rng(1)
    if dtype == "float":
        return rng.random((rows, *shape), np.float32)
    return np.zeros((rows, *shape), dtype)


def random_specs(seed: int) -> Iterator[Config]:
    rng, bases = random.Random(seed), nets()
    for _ in range(SPECS):
        spec = rng.choice(bases)
        for _ in range(rng.choice([1, 1, 2])):
            spec = spoilt(spec, rng)
        yield spec


def test_what_a_check_lets_pass_can_be_trained() -> None:
    passed = 0
    for spec in random_specs(7):
        try:
            found = look(spec)
        except Failure as failure:
            assert all(problem.where for problem in failure.problems), spec
            continue
        passed += 1
        try:
            run(found)
        except Exception as error:
            pytest.fail(f"{error!r} in\n{yamltext.dump(spec)}")
    assert passed > SPECS / 4


def test_an_output_may_be_whole_numbers_that_nothing_has_changed() -> None:
    spec = net({"type": "Dense", "units": 4}, [5], False) | {"loss": "mse", "metrics": ["mae"]}
    spec["dataset"] = {"type": "mnist", "limit": 20, "target_encoding": "one_hot"}
    crop = {"type": "Cropping2D", "cropping": [[9, 9], [13, 14]]}
    run(look(spec | {"layers": [crop, "Flatten"]}))


def test_a_loss_that_compares_a_batch_reads_what_a_plain_layer_gives() -> None:
    """What is made of the whole batch at once, and read at once, is kept for the whole batch."""
    spec = net({"type": "Dense", "units": 4}, [5], False)
    for last in ("BatchNormalization", "Flatten"):
        run(look(spec | {"layers": [{"type": "Dense", "units": 4}, last], "loss": "Circle", "metrics": []}))
