"""Holds out a share of labelled examples, for testing or validation."""

import math
from collections.abc import Sequence

import numpy as np

from bit_keras.data.errors import DataError, check_labels

TEST_SHARE = 0.2  # fraction of the images for testing, in data without a test split
FOR_TEST = "to train and to test"
_ORDERS = 10  # random orders of the groups that are tried


def divide(split, class_names: Sequence[str], share: float, seed: int, purpose: str) -> tuple:
    """Divides a `bit_keras.data.source.Split`; see `hold_out`. In multi-label data it is a share of all examples.

    Returns:
        The other and the chosen examples, each as `Split.subset`.

    Raises:
        DataError: as `hold_out`, or a label is out of its range.
    """
    labels = split.labels
    if labels.ndim == 2:
        labels, class_names = np.zeros(len(labels), np.int64), ["any"]
    check_labels("training labels", labels, len(class_names))
    chosen = hold_out(labels, class_names, share, seed, purpose, getattr(split, "groups", None))
    return tuple(split.subset(np.flatnonzero(part)) for part in (~chosen, chosen))


def hold_out(
    labels: np.ndarray,
    class_names: Sequence[str],
    share: float,
    seed: int,
    purpose: str,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Chooses a share of the examples of each class, at least one, and leaves at least one.

    Args:
        labels: integers [N] in [0, number of classes).
        class_names: one name per class.
        share: fraction of the examples, in (0, 1).
        seed: of the choice, in [0, 2**32).
        purpose: what the other and the chosen examples are for, such as "to train and to test", for messages.
        groups: name of each example's group, [N]. Groups are held out as a whole, so the share is approximate. None
            chooses each example separately.

    Returns:
        bool [N], True for the chosen examples.

    Raises:
        DataError: a class has only one example, or the groups cannot be divided.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    for name, count in zip(class_names, counts):
        if count == 1:
            raise DataError(f"class {name!r} must have 2 images or more, {purpose}, got 1")
    # RandomState, because its numbers are the same in all NumPy versions; those of np.random.Generator may change.
    if groups is not None:
        return _hold_out_groups(labels, class_names, _targets(counts, share), seed, purpose, groups)
    is_held_out = np.zeros(len(labels), bool)
    members_of_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    for members, target in zip(members_of_class, _targets(counts, share)):
        is_held_out[members[np.random.RandomState(seed).permutation(len(members))[:target]]] = True
    return is_held_out


def _targets(counts: np.ndarray, share: float) -> np.ndarray:
    """Returns how many examples of each class to hold out; 0 of a class without examples."""
    return np.minimum(np.maximum(1, np.rint(share * counts)), np.maximum(counts - 1, 0)).astype(np.int64)


def _hold_out_groups(
    labels: np.ndarray,
    class_names: Sequence[str],
    targets: np.ndarray,
    seed: int,
    purpose: str,
    groups: np.ndarray,
) -> np.ndarray:
    """Tries several random orders of the groups and returns the division that comes nearest to the targets."""
    names, group_of = np.unique(groups.astype(str), return_inverse=True)
    pairs, sizes = np.unique(group_of * len(targets) + labels, return_counts=True)
    contents = [[] for _ in names]
    for pair, size in zip(pairs.tolist(), sizes.tolist()):
        group, label = divmod(pair, len(targets))
        contents[group].append((label, size))
    groups_of_class = np.bincount(pairs % len(targets), minlength=len(targets))
    for label in np.flatnonzero(groups_of_class == 1):
        only = str(names[group_of[labels == label][0]])
        raise DataError(f"class {class_names[label]!r} must have images of 2 groups or more, {purpose}, got {only!r}")
    counts = np.bincount(labels, minlength=len(targets))
    random = np.random.RandomState(seed)
    orders = (random.permutation(len(names)).tolist() for _ in range(_ORDERS))
    found = [_divide(order, contents, counts.tolist(), targets.tolist()) for order in orders]
    distance, chosen = min(found, key=lambda division: division[0])  # the first of equal ones
    if distance == math.inf:
        raise DataError(
            f"found no division of {len(names)} groups that has every class on both sides, {purpose}; state it in the "
            "column split, or make the groups smaller"
        )
    return np.isin(group_of, chosen)


def _divide(
    order: list[int], contents: list[list[tuple[int, int]]], counts: list[int], targets: list[int]
) -> tuple[float, list[int]]:
    """Holds out groups in this order, as long as that brings the classes nearer to their targets.

    Args:
        order: indices of the groups.
        contents: for each group, its classes and how many examples it has of each.
        counts: number of examples of each class.
        targets: how many of them to hold out.

    Returns:
        The relative distance from the targets, summed over the classes, infinite if a class is missing; the groups.
    """
    held, chosen = [0] * len(counts), []
    for group in order:
        leaves_some = all(held[label] + size < counts[label] for label, size in contents[group])
        is_missing = any(held[label] == 0 for label, _ in contents[group])
        change = sum(
            (abs(held[label] + size - targets[label]) - abs(held[label] - targets[label])) / targets[label]
            for label, size in contents[group]
        )
        if leaves_some and (is_missing or change < 0):
            chosen.append(group)
            for label, size in contents[group]:
                held[label] += size
    present = [label for label, count in enumerate(counts) if count]
    if any(held[label] == 0 for label in present):
        return math.inf, chosen
    return sum(abs(held[label] - targets[label]) / targets[label] for label in present), chosen
