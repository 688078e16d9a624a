"""The spec: defaults, overrides, by-output sections, the resolved text, the JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kerascli import yamltext
from kerascli.component import Component, families
from kerascli.docs import sentences
from kerascli.errors import Span, SpecFailure
from kerascli.schema import schema
from kerascli.spec import Bound, Loaded, Spec, Training, bound, load, resolved

SMALL = """\
dataset: {type: iris, validation_split: 0.2}
layers:
  - {type: Dense, units: 8, activation: relu, kernel_regularizer: {type: l2, l2: 0.01}}
  - {type: Bidirectional, layer: {type: LSTM, units: 4}}
  - {type: Repeat, times: 2, layers: [{type: Residual, layers: [{type: Dense, units: 8}]}]}
  - {type: Dense, units: 3, activation: softmax}
loss: sparse_categorical_crossentropy
metrics: [accuracy, {type: SparseTopKCategoricalAccuracy, k: 2}]
optimizer: {type: Adam, learning_rate: {type: CosineDecay, initial_learning_rate: 1e-3, decay_steps: 100}}
callbacks: [{type: EarlyStopping, patience: 2}]
training: {epochs: 3, class_weight: {0: 1.0, 1: 2}}
expect: {test_accuracy: ">= 0.5"}
"""


def written(folder: Path, text: str = SMALL, *overrides: str, name: str = "small.yaml") -> Loaded:
    (folder / name).write_text(text, "utf-8")
    return load(folder / name, overrides)


def test_the_name_is_the_file_s_stem_by_default(tmp_path: Path) -> None:
    assert written(tmp_path).spec.name == "small"
    assert written(tmp_path, "name: other\n" + SMALL).spec.name == "other"


def test_what_is_left_out_has_keras_s_defaults(tmp_path: Path) -> None:
    spec = written(tmp_path, "dataset: iris\nlayers: [{type: Dense, units: 1}]\nloss: mse\n").spec
    assert spec.optimizer.dump()["type"] == "RMSprop"
    assert (spec.training.epochs, spec.training.batch_size, spec.training.shuffle, spec.seed) == (1, 32, True, 0)
    assert (spec.outputs, spec.metrics, spec.callbacks) == (None, [], [])


def test_the_resolved_text_loads_to_the_same_spec(tmp_path: Path) -> None:
    first = written(tmp_path).spec
    again = written(tmp_path, resolved(first), name="again.yaml").spec
    assert again == first
    assert resolved(again) == resolved(first)


def test_the_resolved_text_has_every_default(tmp_path: Path) -> None:
    value = yamltext.parse(resolved(written(tmp_path).spec), "r.yaml").value
    assert set(value) == set(Spec.model_fields)
    assert value["layers"][0]["kernel_initializer"]["type"] == "GlorotUniform"
    assert value["training"]["batch_size"] == 32


def test_paths_that_are_read_start_at_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep" / "w.weights.h5").touch()
    text = "dataset: iris\nlayers: [Flatten]\nloss: mse\ntraining: {initial_weights: w.weights.h5}\n"
    assert written(Path("deep"), text).spec.training.initial_weights == str(tmp_path / "deep" / "w.weights.h5")


def test_initial_weights_that_are_no_file_stay_the_name_of_a_run(tmp_path: Path) -> None:
    assert written(tmp_path, SMALL, "training.initial_weights=latest").spec.training.initial_weights == "latest"


@pytest.mark.parametrize(
    ("setting", "place", "value"),
    [
        ("training.epochs=7", ("training", "epochs"), 7),
        ("training.batch_size=0o20", ("training", "batch_size"), 16),
        ("layers[0].units=12", ("layers", 0, "units"), 12),
        ("layers[-1].activation=sigmoid", ("layers", 3, "activation", "type"), "sigmoid"),
        ("optimizer=sgd", ("optimizer", "type"), "SGD"),
        ("optimizer.learning_rate=1e-2", ("optimizer", "learning_rate"), 0.01),
        ("loss.from_logits=true", ("loss", "from_logits"), True),
        ("expect={}", ("expect",), {}),
        ("description=a = b", ("description",), "a = b"),
        ("layers[2].layers[0].layers[0].units=5", ("layers", 2, "layers", 0, "layers", 0, "units"), 5),
    ],
)
def test_a_setting_changes_one_value(tmp_path: Path, setting: str, place: tuple[Any, ...], value: Any) -> None:
    found = yamltext.parse(resolved(written(tmp_path, SMALL, setting).spec), "r.yaml").value
    for step in place:
        found = found[step]
    assert found == value


def test_a_setting_reaches_into_a_component_that_was_left_out(tmp_path: Path) -> None:
    text = "dataset: iris\nlayers: [{type: Dense, units: 1}]\nloss: mse\n"
    spec = written(tmp_path, text, "optimizer.learning_rate=0.5", "training.epochs=2").spec
    assert spec.optimizer.dump()["learning_rate"] == 0.5
    assert spec.training.epochs == 2


def test_a_later_setting_wins(tmp_path: Path) -> None:
    assert written(tmp_path, SMALL, "seed=1", "seed=2").spec.seed == 2


def test_a_setting_changes_one_place_of_an_alias_only(tmp_path: Path) -> None:
    text = "dataset: iris\nlayers: [&a {type: Dense, units: 4}, *a]\nloss: mse\n"
    first, second = written(tmp_path, text, "layers[1].units=9").spec.layers
    assert (first.dump()["units"], second.dump()["units"]) == (4, 9)


@pytest.mark.parametrize(
    ("setting", "code", "column"),
    [
        ("training.epochs", "E206", 1),
        ("=3", "E206", 1),
        ("layers[9].units=3", "E206", 8),
        ("layers[x].units=3", "E206", 7),
        ("seed.a=3", "E206", 6),
        ("a..b=3", "E206", 2),
        ("training.epoch=3", "E203", 10),
        ("training.epochs=[", "E104", 17),
        ("training.epochs=many", "E204", 17),
        ("trainign.epochs=3", "E203", 1),
        ("optimizer.lr=0.1", "E203", 11),
    ],
)
def test_a_wrong_setting_is_located_in_its_own_text(tmp_path: Path, setting: str, code: str, column: int) -> None:
    with pytest.raises(SpecFailure) as caught:
        written(tmp_path, SMALL, "seed=3", setting)
    (problem,) = caught.value.problems
    assert isinstance(problem.where, Span)
    where = problem.where
    assert (problem.code, where.file, where.line, where.column, where.text) == (code, "--set", 2, column, setting)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (">= 0.98", Bound(">=", 0.98)),
        ("<120", Bound("<", 120.0)),
        ("== 1e-3", Bound("==", 0.001)),
        (" <= -.5 ", Bound("<=", -0.5)),
    ],
)
def test_a_bound_is_a_sign_and_a_number(text: str, value: Bound) -> None:
    assert bound(text) == value


def test_nan_meets_no_bound() -> None:
    assert not any(Bound(sign, 0.0).holds(float("nan")) for sign in ("<", "<=", ">", ">=", "=="))  # type: ignore[arg-type]
    assert Bound("<=", 1.0).holds(1.0)
    assert not Bound("<", 1.0).holds(1.0)


def test_losses_and_metrics_may_be_given_by_output(tmp_path: Path) -> None:
    text = "dataset: iris\nlayers: [Flatten]\nloss: {a: mse, b: {type: mae}}\nmetrics: {a: accuracy, b: [mse, mae]}\n"
    spec = written(tmp_path, text).spec
    assert isinstance(spec.loss, dict)
    assert {k: v.dump()["type"] for k, v in spec.loss.items()} == {"a": "MeanSquaredError", "b": "MeanAbsoluteError"}
    assert isinstance(spec.metrics, dict)
    assert [m.column for m in spec.metrics["b"]] == ["mse", "mae"]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def test_the_schema_accepts_a_spec_and_its_resolved_form(
    validator: jsonschema.Draft202012Validator, tmp_path: Path
) -> None:
    loaded = written(tmp_path)
    for value in (loaded.document.value, yamltext.parse(resolved(loaded.spec), "r.yaml").value):
        value["training"]["class_weight"] = None  # JSON has no integer keys
        assert not [error.message for error in validator.iter_errors(value)]


@pytest.mark.parametrize(
    "setting", ["layers[0].unitz=3", "epochs=3", "loss=mze", "layers[1].layer.units=2.5", "optimizer.learning_rate=x"]
)
def test_the_schema_refuses_what_the_spec_refuses(
    validator: jsonschema.Draft202012Validator, tmp_path: Path, setting: str
) -> None:
    from kerascli.overrides import override

    (tmp_path / "s.yaml").write_text(SMALL)
    value = override(yamltext.read(tmp_path / "s.yaml"), [setting]).value
    assert not validator.is_valid({**value, "training": {}})
    with pytest.raises(SpecFailure):
        load(tmp_path / "s.yaml", [setting])


def test_the_schema_accepts_every_example_of_every_component(validator: jsonschema.Draft202012Validator) -> None:
    definitions = validator.schema["$defs"]
    wrong = []
    for name, family in families().items():
        family.names()
        for member in family.members.values():
            part = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})
            for example in member.examples:
                value = {"type": member.type_name(), **_lists(dict(example.config))}
                if not part.is_valid(value):
                    wrong.append((member.__name__, value, [e.message for e in part.iter_errors(value)]))
    assert not wrong


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, (list, tuple)) else value


def test_every_field_of_every_component_has_a_sentence() -> None:
    models: list[type[Any]] = [Spec, Training]
    for family in families().values():
        family.names()
        models += family.members.values()
    silent = [(m.__name__, key) for m in models for key in m.model_fields if not sentences(m).get(key)]
    assert not silent


def test_every_component_s_dump_parses_to_itself() -> None:
    wrong = []
    for family in families().values():
        family.names()
        for member in family.members.values():
            for example in member.examples:
                part: Component = family.parse({"type": member.type_name(), **dict(example.config)})
                if family.parse(part.dump()) != part:
                    wrong.append((member.__name__, part.dump()))
    assert not wrong
