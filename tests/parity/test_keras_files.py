"""Real Keras reads every file we write and writes the same, layer by layer and as graphs; hostile files are refused."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from kerascli import keras_archive, keras_config, keras_files, keras_layout, spec
from kerascli.activations import Activation
from kerascli.component import Example
from kerascli.constraints import Constraint
from kerascli.errors import Failure
from kerascli.exporters import exporter
from kerascli.exporters.base import Trained
from kerascli.graph import Graph, Node, build
from kerascli.initializers import Initializer
from kerascli.keras_graph import IMAGES
from kerascli.layer import Layer
from kerascli.layers.structure import Input
from kerascli.losses.base import Loss
from kerascli.metrics.base import Metric
from kerascli.ops.ir import Array
from kerascli.optimizers.base import Optimizer
from kerascli.program.build import prediction_program
from kerascli.program.interpret import evaluate
from kerascli.regularizers import Regularizer
from kerascli.schedules import Schedule
from kerascli.sources.base import InputInfo, Signature, TargetInfo
from tests.layer_cases import before_the_net

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Keras's own, against NumPy 2."""
STRUCTURE = ("Input", "Reuse", "Repeat", "Residual", "Model")
EXAMPLES = [
    pytest.param((kind, example), id=f"{name}-{k}")
    for name, kind in sorted(Layer.names().items())
    if name == kind.__name__ and name not in STRUCTURE and not before_the_net(kind)
    for k, example in enumerate(kind.examples)
]


def single(kind: type[Layer], example: Example) -> Graph:
    """A graph of the inputs and one layer."""
    layer = kind.model_validate(dict(example.config))
    dtype = "float" if example.dtype.startswith("float") else example.dtype
    names = [f"in{k}" for k in range(len(example.inputs))]
    inputs = [Node(n, Input(name=n), (), (), s, dtype) for n, s in zip(names, example.inputs, strict=True)]
    weights = layer.declare(*example.inputs)
    shape = layer.infer_shape(*example.inputs)
    kind_of = layer.infer_dtype(*[dtype] * len(inputs))
    node = Node("layer", layer, tuple(names), (), shape, kind_of, weights, (), None, layer.trainable)
    return Graph((*inputs, node), tuple(names), ("layer",))


def some_weights(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Values that differ everywhere, so that nothing can be swapped unseen; positive, as variances must be."""
    rng = np.random.default_rng(seed)
    made = {}
    for path, weight in graph.weights().items():
        values = rng.uniform(0.1, 1, weight.shape)
        made[path] = values.astype("float32") if weight.dtype == "float" else (values * 10).astype(weight.dtype)
    return made


def same(ours: Any, theirs: Any, path: str = "") -> None:
    """Equal JSON; numbers may differ by float32 rounding, which Keras does to some of its arguments."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        assert set(ours) == set(theirs), f"{path}: {set(ours) ^ set(theirs)}"
        for key in ours:
            same(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), path
        for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            same(a, b, f"{path}[{k}]")
    elif isinstance(ours, float) or isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-7), path
    else:
        assert ours == theirs and type(ours) is type(theirs), f"{path}: {ours!r} is not {theirs!r}"


def tree(path: Path) -> dict[str, Any]:
    """Everything in an HDF5 file: groups, datasets with shape and type, attributes."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        what = (item.shape, item.dtype.str) if isinstance(item, h5py.Dataset) else ()
        found[name] = (what, {key: np.asarray(value).tolist() for key, value in item.attrs.items()})
        if name.endswith(("/_softmax/vars", "/_dropout_layer/vars")):  # Keras counts those of all models it has made
            found[name] = (what, re.sub(r"_\d+$", "", item.attrs["name"]))

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return found


def named(path: Path) -> dict[str, list[str]]:
    """The names that a legacy file lists. Keras shortens the paths of layers in layers it has loaded."""
    found = {}
    for name, (_, attributes) in tree(path).items():
        for key in ("layer_names", "weight_names"):
            if key in attributes:
                found[f"{name}:{key}"] = [str(v).rsplit("/", 1)[-1] for v in attributes[key]]
    return found


def in_keras(graph: Graph, tmp_path: Path, weights: Mapping[str, Array]) -> Any:
    written = exporter("json").write(Trained("net", graph, weights), tmp_path / "json")
    model = keras.models.model_from_json(written[0].read_text())
    model.load_weights(written[1])
    return model


def arrays(model: Any) -> list[Array]:
    """In the order of `places`: layer by layer, weights as declared."""
    return [np.asarray(w) for layer in model.layers for w in layer.weights]


@dataclass(frozen=True)
class Case:
    """A layer example as a model, ours and in Keras, made once for all the tests of it."""

    example: Example
    graph: Graph
    weights: dict[str, Array]
    folder: Path
    keras: Any


@pytest.fixture(scope="module", params=EXAMPLES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    kind, example = request.param
    if kind.__name__ == "Equalization":
        pytest.skip("Keras 3.15.1 cannot put it into a model")
    graph, folder = single(kind, example), tmp_path_factory.mktemp("case")
    weights = some_weights(graph)
    return Case(example, graph, weights, folder, in_keras(graph, folder, weights))


def test_keras_reads_and_writes_the_same_config(case: Case) -> None:
    same(json.loads((case.folder / "json" / "model.json").read_text()), json.loads(case.keras.to_json()))


def test_keras_reads_and_writes_the_same_weights(case: Case) -> None:
    places = keras_layout.places(case.graph)
    stored = {p.path: array for p, array in zip(places, arrays(case.keras), strict=True)}
    for path, array in case.weights.items():
        np.testing.assert_array_equal(stored[path], array, err_msg=path)
    theirs = case.folder / "theirs.weights.h5"
    case.keras.save_weights(theirs)
    # Keras also keeps empty groups for a layer that serves as an activation, and for those a policy chooses from.
    wanted = {name: item for name, item in tree(theirs).items() if "/activation" not in name.removeprefix("layers/a")}
    if type(case.graph.node("layer").layer).__name__ in ("AugMix", "RandAugment", "RandomColorJitter"):
        wanted = {name: item for name, item in wanted.items() if name.split("/")[2:] in ([], ["vars"])}
    assert wanted == tree(case.folder / "json" / "model.weights.h5")
    for path, array in keras_files.load_weights(theirs, case.graph).items():
        np.testing.assert_array_equal(array, case.weights[path])


def test_keras_loads_the_legacy_file(case: Case) -> None:
    (path,) = exporter("h5").write(Trained("net", case.graph, case.weights), case.folder / "m.h5")
    if exporter("h5").problems(case.graph):
        with contextlib.suppress(ValueError, TypeError):
            found = keras.models.load_model(path, compile=False).layers[-1]
            assert found.axis != case.example.config["axis"]
        return
    model = keras.models.load_model(path, compile=False)
    for place, array in zip(keras_layout.places(case.graph), arrays(model), strict=True):
        np.testing.assert_array_equal(array, case.weights[place.path], err_msg=place.path)
    if type(case.graph.node("layer").layer).__name__ in IMAGES:
        return  # Keras itself cannot write these to such a file
    theirs = case.folder / "theirs.h5"
    model.save(theirs)
    for name, array in keras_files.load_weights(theirs, case.graph).items():
        np.testing.assert_array_equal(array, case.weights[name])
    assert named(path) == named(theirs)


def test_keras_predicts_what_our_engine_predicts_of_a_layer(case: Case) -> None:
    if type(case.graph.node("layer").layer).__name__ == "RandomCrop":
        pytest.skip("Keras 3.15 gives the whole image, against its documentation")
    same_predictions(case.graph, case.weights, case.keras, case.example.high)


def same_predictions(graph: Graph, weights: dict[str, Array], keras_model: Any, high: int) -> None:
    """Keras, from our files, against our program of the same graph."""
    rng = np.random.default_rng(1)
    inputs = {}
    for name in graph.inputs:
        node = graph.node(name)
        values = rng.integers(0, high, (5, *node.shape)) if node.dtype != "float" else rng.normal(size=(5, *node.shape))
        inputs[name] = values.astype("int32" if node.dtype != "float" else "float32")
    program = prediction_program(graph)
    feeds = {f"x:{name}": array for name, array in inputs.items()} | weights
    ours = evaluate(program.outputs.values(), feeds, 5, np.float32)
    for found, theirs in zip(ours, arrays_of(keras_model, list(inputs.values())), strict=True):
        np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=2e-6)


# ── whole models ─────────────────────────────────────────────────────────────────────────────────────────────────────

CNN = """
layers:
  - {type: Rescaling, scale: 0.5}
  - {type: Conv2D, filters: 3, kernel_size: 2, activation: relu, kernel_regularizer: {type: l2, l2: 0.02}}
  - BatchNormalization
  - {type: MaxPooling2D, pool_size: 2}
  - Flatten
  - {type: Dropout, rate: 0.5}
  - {type: Dense, units: 4, activation: leaky_relu}
  - {type: Dense, units: 3, activation: softmax, name: digit}
"""
SIAMESE = """
layers:
  - {type: Input, name: left, dtype: int32}
  - {type: Input, name: right, dtype: int32}
  - {type: Embedding, name: embed, input_dim: 9, output_dim: 4, mask_zero: true, inputs: left}
  - {type: LSTM, name: read_left, units: 3}
  - {type: Reuse, name: embed_right, layer: embed, inputs: right}
  - {type: Dropout, rate: 0.1}
  - {type: Bidirectional, name: read_right, layer: {type: GRU, units: 2}}
  - {type: Dense, units: 3, name: b}
  - {type: Dense, units: 3, name: a, inputs: read_left}
  - {type: Add, inputs: [a, b]}
  - {type: Dense, units: 3}
  - {type: Concatenate, inputs: [dense, read_right]}
  - {type: Dense, units: 1, activation: sigmoid, name: same}
  - {type: Dense, units: 2, name: kind, inputs: dense}
outputs: [same, kind]
"""
RESIDUAL = """
layers:
  - {type: Conv2D, filters: 3, kernel_size: 3, padding: same}
  - type: Repeat
    times: 2
    layers:
      - type: Residual
        layers:
          - {type: Conv2D, filters: 3, kernel_size: 3, padding: same, use_bias: false}
          - BatchNormalization
          - {type: ReLU}
  - GlobalAveragePooling2D
  - {type: Dense, units: 3, activation: softmax}
"""
HEAD = "dataset: {type: synthetic, kind: classification, samples: 8, shape: [4], classes: 3}\n"
IMAGE = Signature({"x": InputInfo((7, 7, 2), "uint8")}, {"y": TargetInfo((), "int64", 3)})
PAIR = Signature(
    {"left": InputInfo((5,), "int32"), "right": InputInfo((5,), "int32")},
    {"same": TargetInfo((1,), "float32"), "kind": TargetInfo((2,), "float32")},
)
MODELS = {
    "cnn": (CNN + "loss: sparse_categorical_crossentropy\nmetrics: [accuracy]\noptimizer: adam\n", IMAGE),
    "siamese": (
        SIAMESE
        + "loss: {same: binary_crossentropy, kind: {type: MeanSquaredError}}\nloss_weights: {kind: 0.5}\n"
        + "metrics: {same: [acc, {type: AUC, num_thresholds: 20}], kind: [mae]}\n"
        + "optimizer: {type: RMSprop, centered: true, learning_rate: {type: ExponentialDecay, "
        + "initial_learning_rate: 0.1, decay_steps: 10, decay_rate: 0.9}}\n",
        PAIR,
    ),
    "residual": (RESIDUAL + "loss: sparse_categorical_crossentropy\noptimizer: {type: SGD, momentum: 0.9}\n", IMAGE),
}
whole = pytest.mark.parametrize("name", MODELS)


def loaded(name: str, tmp_path: Path) -> tuple[spec.Spec, Graph]:
    text, signature = MODELS[name]
    path = tmp_path / f"{name}.yaml"
    path.write_text(HEAD + text)
    found = spec.load(path)
    return found.spec, build(found, signature)


def trained(name: str, tmp_path: Path) -> Trained:
    """A model with weights and an optimizer that has made seven steps."""
    found, graph = loaded(name, tmp_path)
    weights = some_weights(graph)
    slots = {
        slot: {path: np.full(weights[path].shape, k + j / 100, np.float32) for j, path in enumerate(sorted(weights))}
        for k, slot in enumerate(found.optimizer.slots())
    }
    state = keras_layout.optimizer_state(graph, "net", found.optimizer, 7, 0.25, slots)
    return Trained("net", graph, weights, keras_config.compiled(found), state, {"resolved.yaml": b"x: 1\n"})


@whole
def test_a_whole_model_is_what_keras_itself_would_write(name: str, tmp_path: Path) -> None:
    model = trained(name, tmp_path)
    config = keras_config.model(model.graph, "net", dict(model.compiled))
    theirs = json.loads(keras.models.model_from_json(json.dumps(config)).to_json())
    del config["compile_config"]["jit_compile"], theirs["compile_config"]["jit_compile"]
    ours_compiled, their_compiled = config.pop("compile_config"), theirs.pop("compile_config")
    same(config, theirs)
    same(ours_compiled["optimizer"], their_compiled["optimizer"])
    assert ours_compiled["loss_weights"] == their_compiled["loss_weights"]


@whole
def test_keras_loads_the_archive_and_trains_on(name: str, tmp_path: Path) -> None:
    ours = trained(name, tmp_path)
    (path,) = exporter("keras").write(ours, tmp_path / "m.keras")
    model = keras.models.load_model(path)
    for place, array in zip(keras_layout.places(ours.graph), arrays(model), strict=True):
        np.testing.assert_array_equal(array, ours.weights[place.path], err_msg=place.path)
    assert [w.path.split("/")[-1] for w in model.trainable_variables] == [
        p.split("/")[-1].removeprefix("forward_").removeprefix("backward_")
        for p in keras_layout.trainable_paths(ours.graph)
    ]
    assert ours.optimizer is not None
    # Keras shortens the names of variables of layers that it has loaded.
    for theirs, (key, value) in zip(model.optimizer.variables, ours.optimizer.variables.items(), strict=True):
        assert key.endswith(theirs.path.split("/", 1)[1])
        np.testing.assert_array_equal(theirs, value, err_msg=key)
    inputs = [np.ones((4, *ours.graph.node(n).shape), "int32") for n in ours.graph.inputs]
    targets = {"same": np.ones((4, 1)), "kind": np.ones((4, 2))} if len(inputs) > 1 else np.zeros(4)
    model.fit(inputs if len(inputs) > 1 else inputs[0], targets, verbose=0)
    assert int(model.optimizer.iterations) == 8


@whole
def test_keras_writes_the_same_weights_file_for_a_whole_model(name: str, tmp_path: Path) -> None:
    ours = trained(name, tmp_path)
    config, weights = exporter("json").write(ours, tmp_path / "json")
    model = keras.models.model_from_json(config.read_text())
    model.load_weights(weights)
    model.save_weights(tmp_path / "theirs.weights.h5")
    assert tree(tmp_path / "theirs.weights.h5") == tree(weights)
    found, graph = loaded(name, tmp_path)
    state = keras_files.load_optimizer(tmp_path / "theirs.weights.h5", graph, "net", found.optimizer)
    assert state is not None and ours.optimizer is not None
    assert state.name == ours.optimizer.name and list(state.variables) == list(ours.optimizer.variables)
    for key, value in state.variables.items():
        np.testing.assert_array_equal(value, ours.optimizer.variables[key])


@whole
def test_keras_loads_the_legacy_file_compiled_and_predicts_alike(name: str, tmp_path: Path) -> None:
    ours = trained(name, tmp_path)
    (path,) = exporter("h5").write(ours, tmp_path / "m.h5")
    (archive,) = exporter("keras").write(ours, tmp_path / "m.keras")
    one, other = keras.models.load_model(path), keras.models.load_model(archive)
    assert type(one.optimizer) is type(other.optimizer)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(0, 9, (4, *ours.graph.node(n).shape)).astype("int32") for n in ours.graph.inputs]
    for a, b in zip(arrays_of(one, inputs), arrays_of(other, inputs), strict=True):
        np.testing.assert_array_equal(a, b)
    one.save(tmp_path / "theirs.h5")
    for file in (path, tmp_path / "theirs.h5"):
        for key, array in keras_files.load_weights(file, ours.graph).items():
            np.testing.assert_array_equal(array, ours.weights[key])


def arrays_of(model: Any, inputs: list[Array]) -> list[Array]:
    answer = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [np.asarray(each) for each in (answer if isinstance(answer, list) else [answer])]


@whole
def test_keras_predicts_what_our_engine_predicts(name: str, tmp_path: Path) -> None:
    graph = loaded(name, tmp_path)[1]
    weights = some_weights(graph)
    same_predictions(graph, weights, in_keras(graph, tmp_path, weights), high=9)


@whole
def test_equal_models_are_equal_bytes(name: str, tmp_path: Path) -> None:
    ours = trained(name, tmp_path)
    for form in ("keras", "h5"):
        files = [exporter(form).write(ours, tmp_path / f"{k}.{form}")[0] for k in range(2)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_weights_that_keras_trained_come_back_from_its_archive(tmp_path: Path) -> None:
    ours = trained("cnn", tmp_path)
    model = in_keras(ours.graph, tmp_path, ours.weights)
    model.compile("adam", "mse")
    model.fit(np.ones((4, 7, 7, 2)), np.ones((4, 3)), verbose=0)
    model.save(tmp_path / "t.keras")
    found = keras_files.load_weights(tmp_path / "t.keras", ours.graph)
    for place, array in zip(keras_layout.places(ours.graph), arrays(model), strict=True):
        np.testing.assert_array_equal(found[place.path], array)
    assert any(not np.array_equal(found[path], ours.weights[path]) for path in found)


def members(family: type[Any]) -> list[Any]:
    return [
        pytest.param(kind, example, id=f"{name}-{k}")
        for name, kind in sorted(family.names().items())
        if name == kind.__name__
        for k, example in enumerate(kind.examples)
    ]


@pytest.mark.parametrize(("kind", "example"), members(Optimizer))
def test_keras_reads_every_optimizer_and_orders_its_variables_alike(
    kind: type[Optimizer], example: Example, tmp_path: Path
) -> None:
    optimizer = kind.model_validate(dict(example.config))
    config = keras_config.part(optimizer)
    theirs = keras.saving.deserialize_keras_object(config)  # Keras's `optimizers` forgets Lamb
    wanted = keras.optimizers.serialize(theirs)["config"]
    same({**config["config"], "name": wanted["name"]}, wanted)
    _, graph = loaded("residual", tmp_path)
    weights = some_weights(graph)
    slots = dict.fromkeys(optimizer.slots(), weights)
    state = keras_layout.optimizer_state(graph, "net", optimizer, 0, 0.1, slots)
    theirs.build(in_keras(graph, tmp_path, weights).trainable_variables)
    assert [tuple(v.shape) for v in theirs.variables] == [array.shape for array in state.variables.values()]
    for variable, own in zip(theirs.variables, state.variables, strict=True):
        if not own.endswith(("row_means", "column_means", "u_product")):  # Keras leaves these without a name
            assert variable.path.split("/", 1)[1] == own


PARTS = {
    Initializer: keras.initializers,
    Regularizer: keras.regularizers,
    Constraint: keras.constraints,
    Schedule: keras.optimizers.schedules,
    Loss: keras.losses,
    Metric: keras.metrics,
}


@pytest.mark.parametrize(("kind", "example"), [case for family in PARTS for case in members(family)])
def test_keras_reads_every_part_with_the_same_arguments(kind: type[Any], example: Example) -> None:
    family = next(family for family in PARTS if issubclass(kind, family))
    config = keras_config.part(kind.model_validate(dict(example.config)))
    forgotten = kind.__name__ == "CategoricalGeneralizedCrossEntropy"  # by Keras's `losses.deserialize`
    read = keras.saving.deserialize_keras_object if forgotten else PARTS[family].deserialize
    theirs = keras.saving.serialize_keras_object(read(config))
    assert {k: v for k, v in config.items() if k != "config"} == {k: v for k, v in theirs.items() if k != "config"}
    shared = set(config["config"]) & set(theirs["config"])
    if kind.__name__ == "AUC":  # Keras counts the thresholds it was given, and writes the weights as a tensor
        shared -= {"num_thresholds", "label_weights"}
    same({k: config["config"][k] for k in shared}, {k: theirs["config"][k] for k in shared})


@pytest.mark.parametrize(("kind", "example"), members(Activation))
def test_keras_reads_every_activation_or_we_say_that_it_cannot(kind: type[Any], example: Example) -> None:
    function = kind.model_validate(dict(example.config))
    try:
        config = keras_config.activation(function)
    except Failure as failure:
        assert failure.problems[0].code == "E601" and example.config
        return
    theirs = keras.layers.Dense(
        1, activation=keras.saving.deserialize_keras_object(config) if isinstance(config, dict) else config
    )
    assert theirs.get_config()["activation"] == config


# ── files that do not fit, or are hostile ────────────────────────────────────────────────────────────────────────────


def fails(path: Path, graph: Graph, code: str) -> str:
    with pytest.raises(Failure) as failure:
        keras_files.load_weights(path, graph)
    assert {p.code for p in failure.value.problems} == {code}
    return "; ".join(p.message for p in failure.value.problems)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Graph, Path]:
    _, graph = loaded("cnn", tmp_path)
    path = tmp_path / "a.weights.h5"
    keras_files.save_weights(path, graph, some_weights(graph), "net")
    return graph, path


def replaced(path: Path, name: str, make: Any) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        make(file, name)


def test_a_misfit_names_the_layer_and_both_shapes(saved: tuple[Graph, Path]) -> None:
    graph, path = saved
    replaced(path, "layers/dense_1/vars/0", lambda f, n: f.create_dataset(n, data=np.zeros((9, 9))))
    message = fails(path, graph, "E505")
    assert "Dense `digit`" in message and "(9, 9)" in message and "(4, 3)" in message


def test_a_missing_weight_and_a_layer_too_many_are_told(saved: tuple[Graph, Path]) -> None:
    graph, path = saved
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/1"]
        file["layers/dense_2/vars/0"] = np.zeros(3)
    message = fails(path, graph, "E505")
    assert "cannot take `bias`" in message and "`dense_2`" in message


HOSTILE: dict[str, Any] = {
    "external link": lambda f, n: f.__setitem__(n, h5py.ExternalLink("other.h5", "/x")),
    "soft link": lambda f, n: f.__setitem__(n, h5py.SoftLink("/layers/dense/vars/1")),
    "group": lambda f, n: f.create_group(n),
    "references": lambda f, n: f.create_dataset(n, (3,), dtype=h5py.ref_dtype),
    "text": lambda f, n: f.create_dataset(n, data=[b"a", b"b", b"c"]),
    "external storage": lambda f, n: f.create_dataset(n, (3,), "f4", external=[("/etc/passwd", 0, 12)]),
    "giant": lambda f, n: f.create_dataset(n, (2**40,), "f4", chunks=(1024,)),
    "giant chunk": lambda f, n: f.create_dataset(n, (3,), "f4", maxshape=(None,), chunks=(2**28,)),
    "empty": lambda f, n: f.create_dataset(n, data=h5py.Empty("f4")),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_plain_array_in_the_file_is_refused(saved: tuple[Graph, Path], what: str) -> None:
    graph, path = saved
    replaced(path, "layers/dense_1/vars/1", HOSTILE[what])
    assert "Dense `digit`" in fails(path, graph, "E505")


def test_damaged_files_are_problems(saved: tuple[Graph, Path], tmp_path: Path) -> None:
    graph, path = saved
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    broken = tmp_path / "b.weights.h5"
    for text in (b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"hello", data[:500], data[: len(data) // 2]):
        broken.write_bytes(text)
        fails(broken, graph, "E506")
    fails(tmp_path / "absent.h5", graph, "E506")
    for _ in range(40):
        spoilt = bytearray(data)
        for place in rng.integers(0, len(data), 8):
            spoilt[place] = rng.integers(0, 256)
        broken.write_bytes(spoilt)
        try:
            keras_files.load_weights(broken, graph)
        except Failure as failure:
            assert {p.code for p in failure.problems} <= {"E505", "E506"}


def test_an_archive_that_unpacks_to_too_much_is_refused(saved: tuple[Graph, Path], tmp_path: Path) -> None:
    graph, _ = saved
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**27))
    assert "larger than" in fails(bomb, graph, "E506")
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("config.json", "{}")
    assert "no `model.weights.h5`" in fails(bomb, graph, "E506")


def test_attachments_come_back_and_keras_does_not_mind_them(tmp_path: Path) -> None:
    ours = trained("cnn", tmp_path)
    (path,) = exporter("keras").write(ours, tmp_path / "m.keras")
    assert keras_archive.read_member(path, "kerascli/resolved.yaml", 100) == b"x: 1\n"
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
