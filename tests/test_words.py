"""Words of MONAI, torch and others end in one line that names ours."""

import copy
import inspect
import pickle
import re
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

import nacl_monai
from nacl_monai import losses, metrics
from nacl_monai.errors import SettingError
from nacl_monai.evaluations.tables import table_text
from nacl_monai.losses import NACLLoss
from nacl_monai.words import RENAMED, decimals_of, in_our_words, interval_text, row_texts

FOREIGN = [
    "weight",
    "kernel",
    "to_onehot_y",
    "include_background",
    "reduction",
    "mask",
    "n_bins",
    "nonsense",
]


def settings_of(item):
    """What an item takes by keyword, in the order in which a reader sees it."""
    return list(inspect.signature(item).parameters)


def callables(package):
    """All that has settings: losses, penalties, their functions, metrics; no adapters of any loss."""
    for name in package.__all__:
        item = getattr(package, name)
        is_loss = inspect.isclass(item) and issubclass(
            item, losses.SegmentationLoss | losses.Penalty
        )
        is_metric = item is metrics.CalibrationMetric
        adapts = name in ("ForeignLoss", "ComposedLoss", "DeepSupervisionLoss")
        endings = ("_loss", "_penalty", "_error", "_gap", "_score", "entropy", "likelihood")
        is_function = inspect.isfunction(item) and name.endswith(endings)
        is_whole = not inspect.isabstract(item) and name not in ("Penalty", "SegmentationLoss")
        of_bins = name.startswith("pooled_")
        if (is_loss and is_whole and not adapts) or is_metric or (is_function and not of_bins):
            yield pytest.param(item, id=name)


@pytest.mark.parametrize("item", [*callables(losses), *callables(metrics)])
@pytest.mark.parametrize("word", FOREIGN)
def test_a_word_from_elsewhere_ends_in_one_line_that_names_ours(item, word):
    """Before anything is computed; ours is a setting that is there."""
    if word in settings_of(item):
        pytest.skip("is its own word")
    with pytest.raises(SettingError) as caught:
        item(**{word: 1})
    line = str(caught.value)

    assert line.startswith(f"{word}: is ")
    assert "\n" not in line
    if "is called" in line:
        assert line.rsplit("pass ")[1] in settings_of(item)
    else:
        assert line.endswith(("leave it out", ", ".join(settings_of(item))))


def test_every_word_that_is_renamed_is_told_somewhere():
    """No line of the table is dead."""
    taken = {
        name
        for item in [*callables(losses), *callables(metrics)]
        for name in settings_of(*item.values)
    }
    assert all(taken & set(ours) for ours in RENAMED.values())


def test_a_checked_function_is_the_function():
    """Its name, signature and pickle are its own."""
    assert pickle.loads(pickle.dumps(losses.nacl_loss)) is losses.nacl_loss
    assert losses.nacl_loss.__name__ == "nacl_loss"
    assert copy.deepcopy(NACLLoss(kernel_size=5)).penalties[0].settings["kernel_size"] == 5


def test_what_takes_any_keyword_is_left_alone():
    """Such as a parent class that hands settings on."""

    def anything(**settings):
        return settings

    assert in_our_words(anything) is anything


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_a_configuration_of_monais_nacl_moves_over_by_its_target(distance):
    """With the value of MONAI's loss wherever no window reaches beyond the image."""
    settings = {"classes": 3, "dim": 2, "kernel_size": 3, "kernel_ops": "mean", "alpha": 0.3}
    settings |= {"distance_type": distance, "sigma": 1.0}
    ours, theirs = (
        ConfigParser({"loss": {"_target_": target, **settings}}).get_parsed_content("loss")
        for target in ("nacl_monai.losses.NACLLoss", "monai.losses.NACLLoss")
    )
    logits = torch.randn(1, 3, 9, 12, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(3, (1, 1, 9, 12))
    mine, his = (
        torch.autograd.grad(loss(logits, each), logits)[0][..., 1:-1, 1:-1]
        for loss, each in ((ours, labels), (theirs, labels[:, 0]))
    )

    torch.testing.assert_close(mine, his)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"classes": 4}, "classes: is 4; pass 3, as the logits have, or leave it out"),
        ({"dim": 3}, "dim: is 3; pass 2, as the logits have, or leave it out"),
    ],
)
def test_what_monai_must_be_told_is_checked(settings, line):
    """Against the logits."""
    loss = NACLLoss(**settings)
    with pytest.raises(SettingError) as caught:
        loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"kernel_ops": "gaussian"}, "pass prior='blur' with kernel_size, or prior='gaussian'"),
        ({"alpha": 0.1, "penalty_weight": 0.2}, "alpha: is 0.1; pass either it or penalty_weight"),
        ({"distance_type": "l3"}, "penalty: is 'l3'; pass one of l1, l2, log_barrier"),
        ({"kernel_ops": "median"}, "prior: is 'median'; pass one of mean, gaussian"),
    ],
)
def test_what_monais_words_cannot_mean_here_is_refused(settings, line):
    """MONAI's Gaussian is another one; two names of a setting may contradict each other."""
    with pytest.raises(SettingError) as caught:
        NACLLoss(**settings)
    assert line in str(caught.value)


def test_the_word_of_the_last_version_is_taken_with_a_line(capsys):
    """``include_absent`` of mL1-ACE is the opposite of MONAI's word, as old runs wrote it."""
    logits, labels = torch.randn(2, 3, 6, 5), torch.randint(2, (2, 1, 6, 5))
    for included in (True, False):
        expected = losses.ml1ace_loss(logits, labels, ignore_empty_classes=not included)
        assert capsys.readouterr().err == ""
        for loss in (
            lambda value: losses.ML1ACELoss(include_absent=value)(logits, labels),
            lambda value: losses.ml1ace_loss(logits, labels, include_absent=value),
        ):
            assert loss(included) == expected
            line = f"include_absent: is ignore_empty_classes={not included} from now on; pass that"
            assert capsys.readouterr().err == f"warning: {line}\n"


PACKAGE = Path(nacl_monai.__file__).parent
NUMBERS = st.floats(-1e3, 1e3)
#: Two numbers with a format of their own within brackets, such as f"[{low:.3f}, {high:.3f}]".
BY_HAND = re.compile(r"\[\{[^}]*:[+]?[.][^}]*\}%?, \{[^}]*:[+]?[.][^}]*\}%?\]")


@given(NUMBERS, st.floats(1e-4, 1e3))
def test_half_an_interval_has_two_significant_digits(low, width):
    """By decimal arithmetic: half of it, in units of the last digit, is from 10 to 100."""
    high = low + width
    assume(high > low)
    half = (Decimal(high) - Decimal(low)) / 2
    steps = half.scaleb(decimals_of(low, high, 3))
    assert steps > Decimal("9.9")
    assert steps < 100 or decimals_of(low, high, 3) == 0


@pytest.mark.parametrize(
    ("numbers", "more", "text"),
    [
        ((0.842, 0.823, 0.862), {}, "0.842 [0.823, 0.862]"),
        ((0.907, 0.8975, 0.9165), {"percent": True}, "90.70% [89.75, 91.65]"),
        ((0.667, 0.354, 0.879), {"percent": True}, "67% [35, 88]"),
        ((0.8412, 0.8395, 0.8428), {"percent": True}, "84.12% [83.95, 84.28]"),
        ((83.2, 60.1, 106.4), {}, "83 [60, 106]"),
        ((0.01, -0.004, 0.024), {"sign": "+"}, "+0.010 [-0.004, +0.024]"),
        ((0.5, float("nan"), float("nan")), {}, "0.500"),
        ((0.5, 0.5, 0.5), {}, "0.500 [0.500, 0.500]"),
        ((float("nan"),) * 3, {}, "–"),
    ],
)
def test_interval_text(numbers, more, text):
    """Counted by hand."""
    assert interval_text(*numbers, **more) == text


def test_table_of_the_terminal_has_them_too():
    """A volume as its ends deserve, a bound alone with three decimals."""
    row = {"case": "a", "volume_ml": 17.9, "volume_low_ml": 14.48, "volume_high_ml": 22.12}
    bound = {"dice_low": 0.8123, "value": 1.0, "low": float("nan"), "high": float("nan")}
    texts = ["a", "17.9", "14.5", "22.1", "0.812", "1.000", "–", "–"]
    assert [*row_texts(row | bound).values()] == texts
    assert table_text(pd.DataFrame([row | bound])).split("\n")[1].split() == texts


def test_no_other_module_writes_an_interval_by_hand():
    """The rule has one owner."""
    written = {
        file.relative_to(PACKAGE): found
        for file in PACKAGE.rglob("*.py")
        if (found := BY_HAND.findall(file.read_text(encoding="utf-8")))
    }
    assert written == {}
