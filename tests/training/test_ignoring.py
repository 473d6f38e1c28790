"""A dataset says once which voxels nobody labeled."""

from nacl_monai.training.ignoring import WITHOUT, ignoring

NACL = {"_target_": "nacl_monai.losses.NACLLoss"}


def test_configuration_of_other_datasets_stays_as_it_is():
    """Whether it lacks the key or has none."""
    assert ignoring({"loss": NACL}) == ignoring({"loss": NACL, "ignore_index": None}) == {}


def test_every_loss_that_takes_it_is_told():
    """However deep, of this package or not; what is set stays, and others are left alone."""
    penalties = [{"_target_": "nacl_monai.losses.MarginPenalty"}]
    config = {
        "ignore_index": 9,
        "losses": {"nacl": NACL, "mine": {**NACL, "ignore_index": 3}},
        "loss": {
            "_target_": "nacl_monai.losses.ComposedLoss",
            "base": NACL,
            "penalties": penalties,
        },
        "other": {"_target_": "torch.nn.CrossEntropyLoss"},
    }
    assert ignoring(config) == dict.fromkeys(
        [f"{key}::ignore_index" for key in ("losses::nacl", "loss::base", "loss::penalties::0")],
        "@ignore_index",
    )
    torchs = {"_target_": "torch.nn.CrossEntropyLoss"}
    assert ignoring({"ignore_index": 9, "loss": torchs}) == {"loss::ignore_index": "@ignore_index"}


def test_structures_of_monais_metrics_end_where_labels_end():
    """They know no voxels to be ignored, whoever added them."""
    compared = "$monai.handlers.from_engine(['pred', 'label'])"
    metrics = {"iou": {"_target_": "MeanIoUHandler", "output_transform": compared}}
    changes = ignoring({"ignore_index": 9, "validate": {"additional_metrics": metrics}})
    (transform,) = changes.values()

    assert list(changes) == ["validate::additional_metrics::iou::output_transform"]
    assert (transform["_target_"], transform["keys"]) == (WITHOUT, ["pred", "label"])


def test_metrics_that_know_such_voxels_see_all():
    """They are told which these are, unless they were already."""
    metric = {
        "_target_": "monai.handlers.IgniteMetricHandler",
        "metric_fn": {"_target_": "nacl_monai.metrics.CalibrationMetric"},
        "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
    }
    changes = ignoring({"ignore_index": 9, "metrics": {"mine": metric}})
    assert changes == {"metrics::mine::metric_fn::ignore_index": "@ignore_index"}
    metric["metric_fn"]["ignore_index"] = 3
    assert ignoring({"ignore_index": 9, "metrics": {"mine": metric}}) == {}
