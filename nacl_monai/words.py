"""What MONAI, torch and others call our settings: whoever uses their words is told ours in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from nacl_monai.errors import SettingError, print_line

Called = TypeVar("Called", bound=Callable[..., Any])

#: What others call a setting, and ours, the first that is there.
RENAMED: Mapping[str, tuple[str, ...]] = {
    "alpha": ("penalty_weight", "entropy_weight", "label_smoothing", "false_positive_weight"),
    "bins": ("num_bins",),
    "ce_weight": ("cross_entropy_weight",),
    "distance_type": ("penalty",),
    "ignore_empty_classes": ("include_absent",),
    "kernel": ("kernel_size",),
    "kernel_ops": ("prior",),
    "lambda_ce": ("cross_entropy_weight",),
    "lambda_dice": ("dice_weight",),
    "mask": ("region", "ignore_index"),
    "n_bins": ("num_bins",),
    "weight": ("class_weights",),
    "include_background": ("region",),
    **dict.fromkeys(("sigmoid", "softmax", "use_softmax"), ("from_logits",)),
}
#: What others must be told and ours know, and why.
NEEDLESS = {
    **dict.fromkeys(("classes", "dim", "num_classes"), "the logits say it"),
    **dict.fromkeys(
        ("sigmoid", "softmax", "use_softmax"), "logits are expected, before the softmax"
    ),
    "include_background": "all classes count",
    "reduction": "the result is one number, over all voxels that count",
    "to_onehot_y": "labels are class indices or one-hot, as their shape says",
    "weight": "all classes weigh the same",
}
#: Our own words of the last minor version: the successor, and its value.
WITHDRAWN: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "include_absent": ("ignore_empty_classes", lambda included: not included),
}


def of_today(word: str, value: Any) -> tuple[str, Any]:
    """A setting that an older version recorded, as it is called and written now."""
    successor, translated = WITHDRAWN.get(word, (word, lambda value: value))
    return successor, translated(value)


def with_settings_of(function: Callable[..., Any], *but: str) -> Callable[[Called], Called]:
    """Decorates what passes further settings on: its signature names those of a function, too.

    Args:
        function: Its arguments with a default are the settings.
        *but: Those that are not passed on.
    """
    further = [
        p.replace(kind=p.KEYWORD_ONLY)
        for p in signature(function, eval_str=True).parameters.values()
        if p.default is not p.empty
    ]

    def decorate(item: Called) -> Called:
        own = signature(item)
        named = {p.name: p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD}
        added = [p for p in further if p.name not in {*named, *but}]
        item.__signature__ = own.replace(parameters=[*named.values(), *added])  # type: ignore[attr-defined]
        return item

    return decorate


def in_our_words(function: Called, accepted: frozenset[str] = frozenset()) -> Called:
    """Decorates a function or an ``__init__``: a keyword that it does not take ends in one line.

    Args:
        function: Its signature names all of its settings; one that takes any is left as it is.
        accepted: Further keywords that it takes.

    Raises:
        SettingError: By the result, with our word for the setting, or all those that there are.
    """
    names = [name for name in signature(function).parameters if name != "self"]
    if any(p.kind is p.VAR_KEYWORD for p in signature(function).parameters.values()):
        return function
    known = frozenset(names) | accepted

    @wraps(function)
    def checked(*args: Any, **settings: Any) -> Any:
        for word in [word for word in settings if word not in known]:
            _take(word, settings, names)
        return function(*args, **settings)

    return checked  # type: ignore[return-value]


def _take(word: str, settings: dict[str, Any], names: list[str]) -> None:
    successor = WITHDRAWN.get(word, ("",))[0]
    if successor in names:
        value = settings[successor] = of_today(word, settings.pop(word))[1]
        print_line("warning", f"{word}: is {successor}={value} from now on; pass that")
        return
    ours = next((name for name in RENAMED.get(word, ()) if name in names), None)
    if ours:
        raise SettingError(f"{word}: is called {ours} here; pass {ours}")
    if word in NEEDLESS:
        raise SettingError(f"{word}: is no setting here, since {NEEDLESS[word]}; leave it out")
    raise SettingError(f"{word}: is no setting here; pass one of {', '.join(names)}")
