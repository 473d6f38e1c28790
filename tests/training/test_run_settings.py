"""An evaluation is done with what its run was trained with, and refuses to do otherwise."""

import json

import pytest
from monai.bundle import ConfigParser

from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluation_files import trained_with
from tests.conftest import refused

TRAINED = {
    "dataset": "acdc",
    "size": [96, 96],
    "networks": {"unet": {"_desc_": {"label": "A"}, "channels": 4}},
    "inferer": {"sw_batch_size": 16, "overlap": 0.5},
    "structures": {"LV": [3]},
    "split": "drawn",
    "pretrained": "begin.pth",
    "seed": 3,
}
ASKED = {
    "dataset": "acdc",
    "size": [224, 224],
    "networks": {"unet": {"_desc_": {"label": "B"}, "channels": 16}},
    "inferer": {"sw_batch_size": 16, "overlap": 0.25},
    "structures": {"RV": [1]},
    "split": "read",
    "pretrained": False,
    "num_bins": 15,
}


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """The configuration after it followed a run, with overrides as the command's, or from Python."""

    def follow(overrides=None, trained=TRAINED):
        if trained is not None:
            text = trained if isinstance(trained, str) else json.dumps(trained)
            (tmp_path / "config.json").write_text(text)
        checkpoint = str(tmp_path / "model.pt")
        step = {"_target_": "nacl_monai.training.follow_run", "checkpoint": checkpoint}
        parser = ConfigParser({**json.loads(json.dumps(ASKED)), "evaluating": [step]})
        parser.update(overrides or {})
        monkeypatch.setattr("nacl_monai.training.run_settings.given_overrides", lambda: overrides)
        try:
            parser.get_parsed_content("evaluating::0")
        except RuntimeError as error:
            raise error.__cause__ from None
        return parser

    return follow


def test_shared_keys_are_those_of_the_training_and_own_ones_stay(evaluate, capsys):
    """What follows is computed with them; a line says what was not as the files say."""
    parser = evaluate({})

    assert parser.get_parsed_content("size") == [96, 96]
    assert parser.get_parsed_content("networks::unet::channels") == 4
    assert parser.get_parsed_content("inferer::overlap") == 0.5
    own = ("split", "pretrained", "structures", "num_bins")
    assert {key: parser[key] for key in own} == {key: ASKED[key] for key in own}
    assert "seed" not in parser
    output = capsys.readouterr().out
    assert "config.json: followed in size::0 (224, now 96), size::1 (224, now 96), " in output


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"size": [224, 224]}, "size::0 (96, now 224), size::1 (96, now 224)"),
        ({"size::1": 32}, "size::1 (96, now 32)"),
        ({"networks::unet::channels": 8}, "networks::unet::channels (4, now 8)"),
        ({"networks::unet::dropout": 0.1}, "networks::unet::dropout (not set, now 0.1)"),
        ({"inferer": {"sw_batch_size": 1}}, "inferer::overlap (0.5, now not set)"),
    ],
)
def test_contradiction_of_the_command_is_refused_with_both_values(
    evaluate, tmp_path, overrides, named
):
    """The run was not trained so."""
    assert refused(evaluate, overrides) == (
        f"{tmp_path}/config.json: the run was trained with another {named}; leave that out, or name "
        "another run"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        {"size": (96, 96)},
        {"networks::unet::channels": 4},
        {"networks::unet::_desc_": {"label": "C"}},
        {"inferer::sw_batch_size": 2},
        {"structures": {"heart": [1, 2, 3]}},
        {"num_bins": 20},
    ],
)
def test_same_values_and_free_keys_may_be_given(evaluate, overrides):
    """What says the same is not a contradiction; what an evaluation has for itself is its own."""
    parser = evaluate(overrides)

    (key,) = overrides
    assert parser[key] == (overrides[key] if key != "size" else [96, 96])
    assert parser["inferer"]["overlap"] == 0.5


def test_from_python_everything_that_differs_is_refused(evaluate):
    """Nobody knows what was meant and what is a default."""
    assert "another size::0 (96, now 224)" in refused(evaluate, None)


@pytest.mark.parametrize(
    ("edit", "what"),
    [({"max_epochs": 200}, "max_epochs"), ({"structures": {"RV": [1]}}, "configuration")],
)
def test_record_that_was_edited_after_the_training_is_refused(evaluate, tmp_path, edit, what):
    """What describes a menu may change, and a longer training records its length anew."""
    trained = {**TRAINED, "max_epochs": 100}
    evaluate({}, trained)
    recorded = trained_with(tmp_path / "config.json")
    (tmp_path / "run.json").write_text(json.dumps(recorded))
    described = {"networks": {"unet": {"_desc_": {"label": "Mine"}, "channels": 4}}}
    evaluate({}, trained | described)

    with pytest.raises(InputError, match=rf"config.json: its {what} is not the one that run.json"):
        evaluate({}, trained | edit)
    (tmp_path / "run.json").write_text(json.dumps({"finished": True}))  # of an earlier version
    evaluate({}, trained | edit)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_damaged_record_is_refused(evaluate, text):
    """It is what the weights mean."""
    assert "config.json: is damaged; put it back" in refused(evaluate, {}, text)


@pytest.mark.parametrize("trained", [True, False])
def test_weights_without_a_record_are_used_with_a_warning(evaluate, tmp_path, capsys, trained):
    """An old run, or somebody else's weights; nothing is said where there are none."""
    if trained:
        (tmp_path / "model.pt").touch()

    assert evaluate({}, None)["size"] == [224, 224]
    assert ("config.json: is missing" in capsys.readouterr().err) == trained
