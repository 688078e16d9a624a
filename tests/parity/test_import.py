"""Models that Keras saved come in without it: the spec that a person would write, and the same predictions."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from kerascli import api, importer, keras_config
from kerascli.check import check
from kerascli.cli.main import main
from kerascli.component import Example
from kerascli.errors import Failure
from kerascli.exporters import exporter
from kerascli.exporters.base import Trained
from kerascli.layer import Layer
from kerascli.program.build import prediction_program
from kerascli.program.interpret import evaluate
from kerascli.run import Run
from kerascli.stored import Stored
from tests.parity.make_keras_models import FORMS, MODELS
from tests.parity.test_keras_files import EXAMPLES, same, single, some_weights
from tests.random_nets import random_spec

FOLDER = Path(__file__).parent / "keras_models"
FILES = [FOLDER / f"{name}.{form}" for name in MODELS for form in FORMS.get(name, ("keras",))]


def predicted(file: Path, folder: Path, arrays: dict[str, Any]) -> list[Any]:
    """What the imported model predicts, through the whole path: a run directory and `kerascli predict`."""
    found = importer.read(file)
    run = importer.write(found, folder, folder / "run")
    inputs = {name: arrays[f"in{k}"] for k, name in enumerate(found.found.signature.inputs)}
    np.savez(folder / "x.npz", **inputs)
    _, outputs = api.predict(Stored(run.path), [str(folder / "x.npz")], threads=1)
    return list(outputs.values())


def known(file: Path) -> dict[str, Any]:
    """The inputs that Keras was given, and what it predicted."""
    return dict(np.load(FOLDER / f"{file.stem}.npz"))


def close(ours: list[Any], arrays: dict[str, Any]) -> None:
    assert len(ours) == sum(name.startswith("out") for name in arrays)
    for number, y in enumerate(ours):
        np.testing.assert_allclose(y, arrays[f"out{number}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_model_of_keras_predicts_the_same(file: Path, tmp_path: Path) -> None:
    close(predicted(file, tmp_path, known(file)), known(file))


SPECS = {
    "stack.keras": """\
layers:
  - {type: Input, shape: [12, 12, 2]}
  - {type: Rescaling, scale: 0.00392156862745098}
  - type: Conv2D
    filters: 4
    kernel_size: 3
    padding: same
    kernel_initializer: he_normal
    kernel_regularizer: l2
  - {type: BatchNormalization, momentum: 0.9}
  - {type: ReLU, max_value: 6}
  - MaxPooling2D
  - {type: SeparableConv2D, filters: 6, kernel_size: [3, 2], activation: silu}
  - {type: Dropout, rate: 0.3}
  - GlobalAveragePooling2D
  - {type: Dense, name: digit, units: 3, activation: softmax}
loss: sparse_categorical_crossentropy
metrics: [accuracy, {type: SparseTopKCategoricalAccuracy, k: 2, name: top2}]
optimizer:
  type: AdamW
  learning_rate: {type: CosineDecay, initial_learning_rate: 0.01, decay_steps: 100}
  weight_decay: 0.01
""",
    "two_inputs.keras": """\
layers:
  - {type: Input, name: words, shape: [7], dtype: int32}
  - {type: Input, name: facts, shape: [4]}
  - {type: Embedding, input_dim: 20, output_dim: 5, mask_zero: true, inputs: words}
  - {type: Bidirectional, layer: {type: GRU, units: 3, return_sequences: true}}
  - {type: LSTM, name: lstm, units: 4}
  - {type: Concatenate, inputs: [lstm, facts]}
  - {type: Dense, name: dense, units: 8, activation: gelu}
  - {type: Dense, name: urgent, units: 1, activation: sigmoid}
  - {type: Dense, name: topic, units: 3, inputs: dense}
outputs: [urgent, topic]
loss: {urgent: binary_crossentropy, topic: {type: SparseCategoricalCrossentropy, from_logits: true}}
loss_weights: {urgent: 1.0, topic: 0.2}
metrics: {urgent: [{type: AUC, num_thresholds: 20}], topic: [accuracy]}
optimizer: {type: SGD, learning_rate: 0.05, clipnorm: 1.0, momentum: 0.9, nesterov: true}
""",
    "twins.keras": """\
layers:
  - {type: Input, name: left, shape: [6]}
  - {type: Input, name: right, shape: [6]}
  - type: Model
    name: encoder
    inputs: left
    layers:
      - {type: Dense, units: 5, activation: tanh, trainable: false}
      - LayerNormalization
  - {type: Dense, name: shared, units: 4}
  - {type: Reuse, layer: encoder, inputs: right}
  - {type: Reuse, name: shared_2, layer: shared}
  - {type: Subtract, inputs: [shared, shared_2]}
""",
    "attention.keras": """\
  - type: Residual
    layers:
      - {type: Dense, units: 16, activation: gelu}
      - {type: Dense, units: 8}
  - {type: LayerNormalization, epsilon: 1e-06}
  - {type: MultiHeadAttention, num_heads: 1, key_dim: 3, use_causal_mask: true}
""",
    "recurrent.keras": """\
  - {type: TimeDistributed, layer: {type: Dense, units: 3, activation: relu}}
  - {type: LSTM, name: lstm, units: 4, return_sequences: true, return_state: true}
  - {type: LSTM, units: 4, return_sequences: true, initial_state: ['lstm:1', 'lstm:2']}
  - type: RNN
    cell: {type: StackedRNNCells, cells: [{type: GRUCell, units: 3}, {type: SimpleRNNCell, units: 2}]}
    return_sequences: true
""",
}


@pytest.mark.parametrize("name", SPECS)
def test_the_spec_is_one_that_a_person_would_write(name: str) -> None:
    assert SPECS[name] in importer.read(FOLDER / name).text


# ── our own files come back ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("case", EXAMPLES)
def test_every_layer_goes_out_to_keras_and_back(case: tuple[type[Layer], Example], tmp_path: Path) -> None:
    kind, example = case
    graph = single(kind, example)
    weights = some_weights(graph)
    (file,) = exporter("keras").write(Trained("net", graph, weights), tmp_path / "m.keras")
    found = importer.read(file)
    ours, before = (keras_config.model(each, "net") for each in (found.found.graph, graph))
    same(_nameless(ours), _nameless(before))
    for (_, one), (_, other) in zip(weights.items(), found.weights.items(), strict=True):
        np.testing.assert_array_equal(one, other)


CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def written_and_read(path: Path, folder: Path) -> None:
    """A spec's model goes out as `.keras` and comes back with the same numbers in the same places."""
    checked = check(path)
    graph, spec = checked.graph, checked.loaded.spec
    weights = some_weights(graph)
    trained = Trained(spec.name, graph, weights, keras_config.compiled(spec))
    (file,) = exporter("keras").write(trained, folder / "m.keras")
    found = importer.read(file)
    if graph.computed is not graph:
        return  # texts are no arrays
    rng = np.random.default_rng(0)
    ours, again = graph, found.found.graph
    samples = {}
    for one, other in zip(ours.inputs, again.inputs, strict=True):
        node = ours.node(one)
        whole = node.dtype != "float"
        x = rng.integers(0, 5, (3, *node.shape)) if whole else rng.normal(size=(3, *node.shape))
        samples[f"x:{one}"] = samples[f"x:{other}"] = x.astype("int32" if whole else "float32")
    outputs = [
        evaluate(prediction_program(g).outputs.values(), samples | w, 3, np.float32)
        for g, w in ((ours, weights), (again, found.weights))
    ]
    for y, z in zip(*outputs, strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_goes_out_to_keras_and_back(path: Path, tmp_path: Path) -> None:
    written_and_read(path, tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_random_nets_go_out_to_keras_and_back(seed: int, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(random_spec(seed, tmp_path))
    written_and_read(tmp_path / "net.yaml", tmp_path)


def test_words_that_keras_keeps_beside_the_config_come_along(tmp_path: Path) -> None:
    """A vocabulary that was learnt is no argument of the layer: Keras writes it to `assets/`."""
    (tmp_path / "texts.csv").write_text("text,label\ngood film,1\nbad film,0\n")
    layers = "{type: Input, name: text}, {type: TextVectorization, output_mode: count}, {type: Dense, units: 2}"
    (tmp_path / "s.yaml").write_text(
        f"dataset: {{type: csv, path: texts.csv, target: label}}\nlayers: [{layers}]\n"
        "loss: sparse_categorical_crossentropy\n"
    )
    graph = check(tmp_path / "s.yaml").graph
    (file,) = exporter("keras").write(Trained("net", graph, some_weights(graph)), tmp_path / "m.keras")
    moved = tmp_path / "moved.keras"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(moved, "w") as new:
        config = json.loads(old.read("config.json"))
        own = config["config"]["layers"][1]["config"]
        words, own["vocabulary"] = own["vocabulary"], None
        new.writestr("config.json", json.dumps(config))
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
        new.writestr("assets/layers/text_vectorization/vocabulary.txt", "\n".join(["[UNK]", *words]))
    assert words == ["film", "good", "bad"] or sorted(words) == ["bad", "film", "good"]
    found = importer.read(moved).found.spec["layers"]
    assert found[1]["vocabulary"] == words and found[0]["dtype"] == "string"


def _nameless(item: Any) -> Any:
    """Without names, which a spec leaves out where Keras made them up."""
    if isinstance(item, dict):
        left_out = ("name", "keras_history", "input_layers", "output_layers")
        return {key: _nameless(part) for key, part in item.items() if key not in left_out}
    return [_nameless(part) for part in item] if isinstance(item, (list, tuple)) else item


def test_what_was_imported_opens_in_keras_again_and_trains_on(tmp_path: Path) -> None:
    """The optimizer's state goes along: Keras's next steps are those that it would have made."""
    file = FOLDER / "twins.keras"
    run = importer.write(importer.read(file), tmp_path)
    (again,) = api.export(Stored(run.path), "keras", tmp_path / "again.keras").files
    arrays = known(file)
    inputs = [arrays["in0"], arrays["in1"]]
    losses = []
    for each in (file, again):
        model = keras.models.load_model(each)
        assert int(model.optimizer.iterations.numpy()) == 2
        losses.append(model.fit(inputs, np.ones((5, 1)), epochs=3, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


# ── older versions ───────────────────────────────────────────────────────────────────────────────────────────────────


def changed_archive(file: Path, target: Path, change: Callable[[dict[str, Any]], dict[str, Any]], version: str) -> None:
    """An archive as an older version wrote it."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        config = change(json.loads(old.read("config.json")))
        new.writestr("config.json", json.dumps(config))
        new.writestr("metadata.json", json.dumps({"keras_version": version}))
        new.writestr("model.weights.h5", old.read("model.weights.h5"))


def as_keras_3_0(item: Any) -> Any:
    """Policies are words, nothing says how layers were built, and newer arguments are not there yet."""
    newer = {"quantization_config", "optional", "sliding_window", "use_gate", "flash_attention", "gated", "rms_scaling"}
    if isinstance(item, dict):
        if item.get("class_name") == "DTypePolicy":
            return item["config"]["name"]
        return {key: as_keras_3_0(part) for key, part in item.items() if key not in {"build_config", *newer}}
    return [as_keras_3_0(part) for part in item] if isinstance(item, list) else item


@pytest.mark.parametrize("name", MODELS)
def test_archives_of_keras_3_0_come_in(name: str, tmp_path: Path) -> None:
    file = FOLDER / f"{name}.keras"
    changed_archive(file, tmp_path / "old.keras", as_keras_3_0, "3.0.0")
    close(predicted(tmp_path / "old.keras", tmp_path, known(file)), known(file))


def test_older_names_of_groups_in_weight_files_are_found(tmp_path: Path) -> None:
    """Keras 3.0 kept attention's projections under private names, Keras 2.13 its layers under a longer one."""
    for private, above in ((True, "layers"), (False, "_layer_checkpoint_dependencies")):
        folder = tmp_path / above
        folder.mkdir()
        data = zipfile.ZipFile(FOLDER / "attention.keras").read("model.weights.h5")
        (folder / "w.h5").write_bytes(data)
        with h5py.File(folder / "w.h5", "a") as weights:
            for kind in ("multi_head_attention", "multi_head_attention_1"):
                for step in ("query", "key", "value", "output") if private else ():
                    weights.move(f"layers/{kind}/{step}_dense", f"layers/{kind}/_{step}_dense")
            if above != "layers":
                weights.move("layers", above)
        file = folder / "attention.keras"
        with zipfile.ZipFile(FOLDER / "attention.keras") as old, zipfile.ZipFile(file, "w") as new:
            new.writestr("config.json", old.read("config.json"))
            new.writestr("model.weights.h5", (folder / "w.h5").read_bytes())
        close(predicted(file, folder, known(file)), known(file))


def as_keras_2(item: Any, top: bool = True) -> Any:
    """Keras 2's JSON: calls as lists, `batch_input_shape`, arguments of its own."""
    if isinstance(item, list):
        return [as_keras_2(part, False) for part in item]
    if not isinstance(item, dict):
        return item
    if item.get("class_name") == "DTypePolicy":
        return item["config"]["name"]
    found = {key: as_keras_2(part, False) for key, part in item.items() if key not in ("module", "registered_name")}
    found.pop("build_config", None)
    found.pop("compile_config", None)
    kind, config = found.get("class_name"), found.get("config")
    if isinstance(config, dict):
        if "batch_shape" in config:
            config["batch_input_shape"] = config.pop("batch_shape")
            config.pop("optional", None)
        if kind in ("LSTM", "GRU", "SimpleRNN"):
            config |= {"implementation": 2, "time_major": False}
        if kind == "BatchNormalization":
            config["axis"] = [3]
            del config["synchronized"]
        if kind in ("Embedding",):
            config["input_length"] = None
    if "inbound_nodes" in item:
        found["inbound_nodes"] = [_old_node(node) for node in item["inbound_nodes"]]
    return found


def _old_node(node: dict[str, Any]) -> Any:
    args = node["args"][0] if isinstance(node["args"][0], list) else node["args"]
    inner = {"encoder", "inner"}
    refs = [arg["config"]["keras_history"] for arg in args]
    return [[name, call + (name in inner), index, {}] for name, call, index in refs]


@pytest.mark.parametrize("name", ["stack", "twins", "two_inputs"])
def test_legacy_files_of_keras_2_come_in(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.h5"
    file.write_bytes((FOLDER / f"{name}.h5").read_bytes())
    written = json.loads(keras.models.load_model(FOLDER / f"{name}.keras").to_json())
    if name == "two_inputs":
        kept = [each for each in written["config"]["layers"] if ".ops." not in each["module"]]
        written["config"]["layers"] = kept
    config = as_keras_2(written)
    settings = {
        "loss": "mse",
        "metrics": [[{"class_name": "MeanMetricWrapper", "config": {"name": "mae", "dtype": "float32"}}]],
        "optimizer_config": {
            "class_name": "Adam",
            "config": {"name": "Adam", "learning_rate": 0.0010000000474974513, "decay": 0.0, "beta_1": 0.9},
        },
    }
    with h5py.File(file, "a") as stored:
        stored.attrs["model_config"] = json.dumps(config)
        stored.attrs["training_config"] = json.dumps(settings)
        stored.attrs["keras_version"] = "2.9.0"
        stored.attrs["backend"] = "tensorflow"
        del stored["optimizer_weights"]
    arrays = known(file)
    if name == "stack":  # Keras 3 cannot read all that Keras 2 wrote, but what it reads says whether this is right
        close([keras.models.load_model(file, compile=False).predict(arrays["in0"], verbose=0)], arrays)
    found = importer.read(file)
    if name != "two_inputs":
        assert found.found.spec["loss"] == "mse" and found.found.spec["metrics"] == ["mae"]
    assert found.found.spec["optimizer"] == "Adam"
    close(predicted(file, tmp_path, arrays), arrays)


def test_operations_of_keras_2_are_layers(tmp_path: Path) -> None:
    def layer(kind: str, name: str, config: dict[str, Any], nodes: list[Any]) -> dict[str, Any]:
        return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}

    layers = [
        layer("InputLayer", "x", {"batch_input_shape": [None, 4], "dtype": "float32"}, []),
        layer("TFOpLambda", "tf.math.multiply", {"function": "math.multiply"}, [["x", 0, 0, {"y": 2.0}]]),
        layer(
            "TFOpLambda",
            "tf.__operators__.add",
            {"function": "__operators__.add"},
            [["tf.math.multiply", 0, 0, {"y": ["x", 0, 0]}]],
        ),
        layer("TFOpLambda", "tf.nn.relu", {"function": "nn.relu"}, [["tf.__operators__.add", 0, 0, {"name": None}]]),
    ]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["tf.nn.relu", 0, 0]]}
    config = {"class_name": "Functional", "config": {"name": "sums", "layers": layers, **ends}}
    (tmp_path / "sums.json").write_text(json.dumps(config))
    found = importer.read(tmp_path / "sums.json")
    assert found.found.spec["layers"] == [
        {"type": "Input", "name": "x", "shape": [4]},
        {"type": "Rescaling", "name": "tf.math.multiply", "scale": 2},
        {"type": "Add", "inputs": ["tf.math.multiply", "x"]},
        {"type": "Activation", "activation": "relu"},
    ]


# ── what a spec cannot say ───────────────────────────────────────────────────────────────────────────────────────────


def test_all_that_cannot_be_said_is_named_at_once(tmp_path: Path) -> None:
    x = keras.Input((6,))
    y = keras.layers.Lambda(lambda t: t * 2, name="twice")(x)
    y = keras.layers.Dense(3, name="fine")(keras.ops.sort(y))
    y = keras.layers.Dropout(0.5, name="noisy")(y, training=True)
    y = keras.layers.Dense(2, activation=keras.saving.register_keras_serializable("mine")(_squash), name="own")(y)
    keras.Model(x, y).save(tmp_path / "bad.keras")
    with pytest.raises(Failure) as failure:
        importer.read(tmp_path / "bad.keras")
    said = "\n".join(p.message for p in failure.value.problems)
    assert "Lambda `twice`: it is a Lambda" in said
    assert "operation `sort`" in said
    assert "Dropout `noisy`: it is called with `training=True`" in said
    assert "Dense `own`" in said and "Python code" in said
    assert "`fine`" not in said and {p.code for p in failure.value.problems} == {"E604"}


def _squash(x: Any) -> Any:
    return x


def test_an_axis_of_any_length_must_be_said(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((None,)), keras.layers.Embedding(9, 3), keras.layers.LSTM(2)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(Failure) as failure:
        importer.read(tmp_path / "m.keras")
    assert failure.value.problems[0].code == "E605" and "--shape 100" in failure.value.problems[0].help
    words = ["import", str(tmp_path / "m.keras"), "-o", str(tmp_path / "run"), "--shape", "7"]
    assert main(words) == 0
    x = np.arange(14, dtype="int32").reshape(2, 7) % 9
    np.save(tmp_path / "x.npy", x)
    _, outputs = api.predict(Stored(tmp_path / "run"), [str(tmp_path / "x.npy")], threads=1)
    np.testing.assert_allclose(next(iter(outputs.values())), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_mask_that_is_given_by_hand_is_refused(tmp_path: Path) -> None:
    x, words = keras.Input((5, 3)), keras.Input((5,), dtype="int32")
    y = keras.layers.LSTM(2)(x, mask=keras.ops.not_equal(words, 0))
    keras.Model([x, words], y).save(tmp_path / "m.keras")
    with pytest.raises(Failure) as failure:
        importer.read(tmp_path / "m.keras")
    assert "a mask that is given by hand" in failure.value.problems[0].message
    y = keras.layers.Dense(2)(keras.layers.concatenate([y, keras.layers.Flatten()(words)]))
    keras.Model([x, words], y).save(tmp_path / "m.keras")
    with pytest.raises(Failure) as failure:
        importer.read(tmp_path / "m.keras")
    assert "another mask" in str(failure.value)


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_imported_run_is_like_a_trained_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run = FOLDER / "stack.keras", tmp_path / "run"
    assert main(["import", str(file), "-o", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["run"] == str(run) and facts["notes"] == []
    opened = Run.open(run)
    assert opened.status == "completed" and opened.facts["origin"]["keras"].startswith("3.")
    assert not opened.was_edited()
    keras.models.model_from_json(opened.model.read_text()).load_weights(opened.weights)
    arrays = known(file)
    np.savez(tmp_path / "some.npz", x=arrays["in0"], y=np.arange(5) % 3)
    assert main(["evaluate", str(run), "--data", str(tmp_path / "some.npz"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["metrics"]) >= {"loss", "accuracy", "top2"}
    for words in (["summary", str(run)], ["runs", "show", str(run)], ["export", str(run), "--format", "yaml"]):
        assert main([*words, *(["-o", str(tmp_path / "spec.yaml")] if "export" in words else [])]) == 0
    assert main(["import", str(file), "-o", str(run)]) == 2


def test_training_goes_on_from_what_was_imported(tmp_path: Path) -> None:
    """`spec.yaml` of the run needs nothing but data."""
    run = importer.write(importer.read(FOLDER / "bare_stack.keras"), tmp_path, tmp_path / "run")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6)).astype("float32")
    np.savez(run.path / "data.npz", x_train=x, y_train=x.sum(1, keepdims=True))
    assert main(["train", str(run.spec), "--runs-dir", str(tmp_path), "--set", "training.epochs=2"]) == 0
