"""Holds out a share of labelled examples, for testing or validation."""

from collections.abc import Sequence

import numpy as np

from bit_keras.data.errors import DataError

_ORDERS = 10  # random orders of the groups that are tried


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
    # [G, number of classes in the group]: the classes of each group, and how many examples it has of them.
    pairs, sizes = np.unique(group_of * len(targets) + labels, return_counts=True)
    begins = np.searchsorted(pairs // len(targets), np.arange(1, len(names)))
    contents = list(zip(np.split(pairs % len(targets), begins), np.split(sizes, begins)))
    groups_of_class = np.bincount(pairs % len(targets), minlength=len(targets))
    for label in np.flatnonzero(groups_of_class == 1):
        only = str(names[group_of[labels == label][0]])
        raise DataError(f"class {class_names[label]!r} must have images of 2 groups or more, {purpose}, got {only!r}")
    counts = np.bincount(labels, minlength=len(targets))
    random = np.random.RandomState(seed)
    found = [_divide(random.permutation(len(names)), contents, counts, targets) for _ in range(_ORDERS)]
    distance, chosen = min(found, key=lambda division: division[0])  # the first of equal ones
    if distance == np.inf:
        raise DataError(
            f"found no division of {len(names)} groups that has every class on both sides, {purpose}; state it in the "
            "column split, or make the groups smaller"
        )
    return np.isin(group_of, chosen)


def _divide(
    order: np.ndarray, contents: list[tuple[np.ndarray, np.ndarray]], counts: np.ndarray, targets: np.ndarray
) -> tuple[float, list[int]]:
    """Returns the groups to hold out, taken in this order, and the distance from the targets; infinite if it fails."""
    held, chosen = np.zeros_like(counts), []
    for group in order:
        classes, sizes = contents[group]
        before, after, goal = held[classes], held[classes] + sizes, targets[classes]
        is_nearer = np.sum((np.abs(after - goal) - np.abs(before - goal)) / goal) < 0
        if (after < counts[classes]).all() and (is_nearer or (before == 0).any()):
            held[classes] = after
            chosen.append(group)
    present = counts > 0
    if (held[present] == 0).any():
        return np.inf, chosen
    return float(np.sum(np.abs(held - targets)[present] / targets[present])), chosen
