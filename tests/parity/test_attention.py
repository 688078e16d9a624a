"""The attention layers give live Keras's numbers and masks, alone and in models that Keras opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerascli import keras_config, keras_files, spec
from kerascli.graph import Graph, build
from kerascli.layer import Context, Layer
from kerascli.ops.ir import Array, Input, Scope, Trace, Type, Value, Weight
from kerascli.program.build import prediction_program
from kerascli.program.interpret import evaluate
from kerascli.sources.base import InputInfo, Signature, TargetInfo
from tests.layer_cases import weights

keras = pytest.importorskip("keras")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not support masking"),  # Keras warns of the layers in its own
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

T, S, E = 4, 5, 6
QUERY_MASK = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0]], bool)
VALUE_MASK = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [0, 1, 1, 1, 1]], bool)
RNG = np.random.default_rng(3)
QUERY, VALUE, KEY = (RNG.standard_normal((3, n, E)).astype(np.float32) for n in (T, S, S))
MHA: dict[str, Any] = {"type": "MultiHeadAttention", "num_heads": 2, "key_dim": 3}
GQA: dict[str, Any] = {"type": "GroupQueryAttention", "head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "dot": {"type": "Attention"},
    "scaled": {"type": "Attention", "use_scale": True},
    "concat": {"type": "Attention", "use_scale": True, "score_mode": "concat"},
    "additive": {"type": "AdditiveAttention"},
    "additive, unscaled": {"type": "AdditiveAttention", "use_scale": False},
    "heads": MHA,
    "heads, with a gate and no bias": {**MHA, "use_gate": True, "use_bias": False},
    "heads, wide": {**MHA, "value_dim": 5, "output_shape": [2, 4], "dropout": 0.5},
    "heads, near": {**MHA, "sliding_window": 2},
    "groups": GQA,
    "groups, near, with a gate": {**GQA, "use_gate": True, "sliding_window": 3},
}


def both(
    config: dict[str, Any],
    arrays: list[Array],
    masks: list[Array | None],
    attention_mask: Array | None = None,
) -> tuple[list[Array], list[Array]]:
    """Outputs of our layer and of Keras's, whose masks are equal."""
    named = {"attention_mask": "mask"} if attention_mask is not None else {}
    layer = Layer.parse({**config, **named})
    shapes = tuple(a.shape[1:] for a in arrays)
    w = weights(layer, shapes)
    trace, feeds = Trace(), dict(w)
    given: dict[str, tuple[Array, str]] = {f"x{k}": (a, "float") for k, a in enumerate(arrays)}
    given |= {f"m{k}": (m, "bool") for k, m in enumerate(masks) if m is not None}
    if attention_mask is not None:
        given["a"] = (attention_mask, "bool")
    values: dict[str, Value] = {}
    for name, (array, kind) in given.items():
        values[name] = trace.add(Input(name, Type(array.shape[1:], kind)), scope=Scope.BLOCK)
        feeds[name] = array
    seen = tuple(values.get(f"m{k}") for k in range(len(arrays)))
    seen += (None,) * (attention_mask is not None)
    context = Context(trace, False, seen, "layer", {}, [])
    own = {s.name: trace.add(Weight(s.name, s.shape), scope=Scope.WEIGHT) for s in layer.declare(*shapes)}
    extra = {"attention_mask": values["a"]} if attention_mask is not None else {}
    xs = [values[f"x{k}"] for k in range(len(arrays))]
    y = layer.call(context, own, *xs, **extra)
    after = layer.mask(context, *xs)
    wanted = [y, *context.further, *([after] if after is not None else [])]
    found = evaluate(wanted, feeds, len(arrays[0]), np.float32)
    mine, my_mask = (found, None) if after is None else (found[:-1], found[-1])

    theirs = keras.saving.deserialize_keras_object(keras_config.layer(layer, "layer", shapes))
    theirs.set_weights(list(w.values()))
    tensors = [keras.ops.convert_to_tensor(a) for a in arrays]
    for tensor, mask in zip(tensors, masks, strict=True):
        if mask is not None:
            keras.src.backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
    tensors = tensors * 2 if len(tensors) == 1 else tensors
    called = {key: True for key in ("use_causal_mask", "return_attention_scores") if config.get(key)}
    if attention_mask is not None:
        called["attention_mask"] = keras.ops.convert_to_tensor(attention_mask)
    listed = config["type"] in ("Attention", "AdditiveAttention")
    expected = theirs(tensors, **called) if listed else theirs(*tensors, **called)
    outputs = list(expected) if isinstance(expected, tuple) else [expected]
    their_mask = keras.src.backend.get_keras_mask(outputs[0])
    assert (my_mask is None) == (their_mask is None)
    if my_mask is not None:
        assert np.array_equal(my_mask, np.asarray(their_mask))
    return mine, [np.asarray(each) for each in outputs]


def equal(mine: list[Array], theirs: list[Array]) -> None:
    assert len(mine) == len(theirs)
    for ours, expected in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=3e-6)


@pytest.mark.parametrize("scores", [False, True], ids=["alone", "with scores"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_layer_reads_as_in_keras(name: str, masked: bool, causal: bool, scores: bool) -> None:
    config = {**CONFIGS[name], "use_causal_mask": causal, "return_attention_scores": scores}
    if config.get("value_dim"):
        config["dropout"] = 0.5  # Keras on JAX has no fast path for values of another width
    key_mask = np.roll(VALUE_MASK, 1, 1) if masked and "num_heads" in config else VALUE_MASK if masked else None
    masks = [QUERY_MASK, VALUE_MASK, key_mask] if masked else [None] * 3
    equal(*both(config, [QUERY, VALUE, KEY], masks))
    equal(*both(config, [QUERY], masks[:1]))
    equal(*both(config, [QUERY, VALUE], masks[:2]))


@pytest.mark.parametrize("shape", [(T, S), (1, S), (T, 1), (2, T, S), (1, 1, S)], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_an_attention_mask_joins_the_others(shape: tuple[int, ...], masked: bool) -> None:
    if masked and len(shape) > 2:
        pytest.skip("Keras lines a mask of heads up with the wrong axes of the others")
    own = np.random.default_rng(1).random((3, *shape)) > 0.4
    masks: list[Array | None] = [QUERY_MASK, VALUE_MASK] if masked else [None, None]
    for config in (MHA, {**MHA, "return_attention_scores": True}, {**MHA, "use_causal_mask": masked}):
        equal(*both(config, [QUERY, VALUE], masks, own))


AXES: list[tuple[Any, tuple[int, ...]]] = [(None, (2, 3, E)), (1, (2, 3, E)), ([2], (2, 3, E)), ([-2, 1], (2, 3, E))]


@pytest.mark.parametrize(("axes", "shape"), AXES, ids=[str(axes) for axes, _ in AXES])
@pytest.mark.parametrize("scores", [False, True], ids=["alone", "with scores"])
def test_attention_over_other_axes(axes: Any, shape: tuple[int, ...], scores: bool) -> None:
    x = np.random.default_rng(2).standard_normal((3, *shape)).astype(np.float32)
    config = {**MHA, "attention_axes": axes, "return_attention_scores": scores}
    equal(*both(config, [x, x * 0.5], [None, None]))


MODELS = {
    "two blocks behind a mask": """
  - {type: Embedding, name: tokens, input_dim: 9, output_dim: 6, mask_zero: true}
  - {type: MultiHeadAttention, name: first, num_heads: 2, key_dim: 3}
  - {type: Add, name: joined, inputs: [tokens, first]}
  - {type: LayerNormalization, name: attended}
  - {type: MultiHeadAttention, name: second, num_heads: 2, key_dim: 3, use_causal_mask: true}
  - {type: Add, inputs: [attended, second]}
  - GlobalAveragePooling1D
  - {type: Dense, units: 2}
""",
    "groups and a recurrent end": """
  - {type: Embedding, name: tokens, input_dim: 9, output_dim: 6, mask_zero: true}
  - {type: GroupQueryAttention, head_dim: 2, num_query_heads: 4, num_key_value_heads: 2, use_gate: true}
  - {type: LSTM, units: 6, return_sequences: true, name: read}
  - {type: Attention, inputs: [read, tokens], use_causal_mask: true, use_scale: true, score_mode: concat}
  - {type: AdditiveAttention, dropout: 0.2}
  - {type: GRU, units: 2}
""",
    "scores as an output": """
  - {type: Embedding, name: tokens, input_dim: 9, output_dim: 6}
  - {type: MultiHeadAttention, name: heads, num_heads: 2, key_dim: 3, return_attention_scores: true}
  - {type: Flatten, inputs: "heads:1", name: weights}
  - {type: Flatten, inputs: heads}
  - {type: Concatenate, inputs: [flatten, weights]}
  - {type: Dense, units: 2}
""",
}


def graph_of(text: str, folder: Path) -> Graph:
    head = "dataset: {type: synthetic, kind: sequences, samples: 8, shape: [7], vocabulary: 9}\nlayers:"
    path = folder / "model.yaml"
    path.write_text(head + text + "loss: mse\n")
    signature = Signature({"x": InputInfo((7,), "int32")}, {"y": TargetInfo((2,), "float32")})
    return build(spec.load(path), signature)


@pytest.mark.parametrize("name", MODELS)
def test_keras_opens_the_model_writes_it_alike_and_predicts_alike(name: str, tmp_path: Path) -> None:
    graph = graph_of(MODELS[name], tmp_path)
    rng = np.random.default_rng(0)
    w = {path: rng.normal(0, 0.5, s.shape).astype(np.float32) for path, s in graph.weights().items()}
    config = keras_config.model(graph, "net", {})
    theirs = keras.models.model_from_json(json.dumps(config))
    again = json.loads(theirs.to_json())
    assert again["config"]["layers"] == json.loads(json.dumps(config))["config"]["layers"]
    path = tmp_path / "w.weights.h5"
    keras_files.save_weights(path, graph, w, "net")
    theirs.load_weights(path)
    tokens = rng.integers(0, 9, (5, 7)).astype(np.int32)
    tokens[:, :2] = [[0, 0], [0, 3], [1, 2], [0, 0], [4, 0]]
    program = prediction_program(graph)
    ours = evaluate(program.outputs.values(), {"x:input_layer": tokens, **w}, 5, np.float32)
    np.testing.assert_allclose(ours[0], np.asarray(theirs(tokens)), rtol=1e-5, atol=2e-6)


def test_a_model_is_written_as_keras_writes_its_own(tmp_path: Path) -> None:
    layers = keras.layers
    x = layers.Input((7,), dtype="int32", name="input_layer")
    tokens = layers.Embedding(9, 6, mask_zero=True, name="tokens")(x)
    first = layers.MultiHeadAttention(2, 3, name="first")(tokens, tokens)
    joined = layers.Add(name="joined")([tokens, first])
    attended = layers.LayerNormalization(name="attended")(joined)
    second = layers.MultiHeadAttention(2, 3, name="second")(attended, attended, use_causal_mask=True)
    pooled = layers.GlobalAveragePooling1D(name="pooled")(layers.Add(name="add")([attended, second]))
    model = keras.Model(x, layers.Dense(2, name="dense")(pooled), name="net")
    theirs = json.loads(model.to_json())["config"]["layers"]
    text = MODELS["two blocks behind a mask"].replace(
        "GlobalAveragePooling1D", "{type: GlobalAveragePooling1D, name: pooled}"
    )
    ours = json.loads(json.dumps(keras_config.model(graph_of(text, tmp_path), "net", {})["config"]["layers"]))
    assert [each["class_name"] for each in ours] == [each["class_name"] for each in theirs]
    names = {b["name"]: a["name"] for a, b in zip(ours, theirs, strict=True)}  # Keras counts operations of all models
    written = json.dumps([each["inbound_nodes"] for each in theirs])
    for name in sorted(names, key=len, reverse=True):
        written = written.replace(f'"{name}"', f'"{names[name]}"')
    assert [each["inbound_nodes"] for each in ours] == json.loads(written)
