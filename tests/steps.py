"""One training step of a spec's net: on the planned engine, and by the plain interpreter."""

from __future__ import annotations

import numpy as np

from kerascli.engine.memory import SharedMemory
from kerascli.engine.parameters import Parameter, Parameters
from kerascli.engine.session import Session
from kerascli.ops.ir import Array, Value
from kerascli.optimizers.sgd import SGD
from kerascli.program.interpret import evaluate
from kerascli.program.program import Program
from tests.trained import Lesson

Numbers = dict[str, Array]
SEED, STEP = 9, 4


def by_engine(found: Lesson, program: Program, rows: Array, batch: int, dtype: str, lanes: int) -> Numbers:
    """Loss, outputs, new state and gradients of a step on `rows`; the weights stay as they are."""
    memory = SharedMemory()
    specs = found.runner.specs.items()
    parameters = Parameters([Parameter(p, s.shape, s.trainable, s.dtype) for p, s in specs], {}, memory, dtype)
    parameters.load(found.runner.parameters.copy())
    with Session(parameters, memory, SEED, workers=1, optimizer=SGD(learning_rate=0.0)) as session:
        job = session.add_program(program, batch, dtype, lanes)
        done = session.run(job, session.add_feed(_data(found, dtype)), rows, STEP)
        numbers = {f"d {path}": parameters.view(parameters.gradient, path) for path in program.gradients}
        numbers |= session.outputs(done, len(rows))
        numbers |= {f"new {path}": parameters.weights[path] for path in program.updates}
        return {"loss": np.array(session.loss(done)), **{name: array.copy() for name, array in numbers.items()}}


def by_interpreter(found: Lesson, program: Program, rows: Array, dtype: str) -> Numbers:
    """The same."""
    assert program.loss is not None
    wanted: dict[str, Value] = {"loss": program.loss, **{f"d {path}": v for path, v in program.gradients.items()}}
    wanted |= program.outputs | {f"new {path}": value for path, value in program.updates.items()}
    feeds = {name: array[rows] for name, array in _data(found, dtype).items()}
    feeds |= {**found.runner.parameters.copy(), "inverse_batch": np.array(1 / len(rows))}
    arrays = evaluate(wanted.values(), feeds, len(rows), dtype, SEED, STEP)
    return dict(zip(wanted, arrays, strict=True))


def require_equal(mine: Numbers, theirs: Numbers, tolerance: float) -> None:
    """Equal to a part of each array's largest number."""
    assert set(mine) == set(theirs)
    for name, expected in theirs.items():
        bound = tolerance * max(float(np.abs(expected).max(initial=0)), 1e-2)
        np.testing.assert_allclose(mine[name], expected, rtol=tolerance, atol=bound, err_msg=name)


def _data(found: Lesson, dtype: str) -> Numbers:
    split, targets = found.data.train, found.model.targets
    arrays = {f"x:{name}": array for name, array in split.inputs.items()}
    arrays |= {f"y:{name}": array.reshape(len(array), *targets[name].shape) for name, array in split.targets.items()}
    return {name: array.astype(dtype) if array.dtype.kind == "f" else array for name, array in arrays.items()}
