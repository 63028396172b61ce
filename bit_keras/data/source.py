"""The interface of a task's data, independent of how they are stored."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from bit_keras.data import few_shot
from bit_keras.data.errors import DataError, check_labels
from bit_keras.data.examples import no_examples
from bit_keras.data.held_out import divide
from bit_keras.data.splits import SPLIT_NAMES
from bit_keras.system.checks import check_choice, check_integer, describe, known_arguments
from bit_keras.system.texts import counted


class Split(Protocol):
    """The examples of one split, pairs (image, label): an `examples.Examples` or a `Stream`.

    An image is uint8 [H, W, 3], or encoded in a scalar string. A label is int64, or int64 [L] padded with -1 in
    multi-label data.
    """

    labels: np.ndarray  # int64 [N] or [N, L]

    def __len__(self) -> int:
        """Number of examples."""

    def take(self, indices: np.ndarray) -> "Split":
        """The examples at these indices of `labels`, for random access; `indices` must be ascending."""

    def subset(self, indices: np.ndarray) -> "Split":
        """As `take`, for too many examples to read them into memory."""

    def fits_in(self, limit: int) -> bool:
        """Tells whether all decoded images, with the encoded ones, take `limit` bytes or less."""


class Stream(Split, Protocol):
    """A split that only TensorFlow can read; `bit_keras.data.loaders.streams` has the same streams for any split."""

    def in_order(self) -> Iterable:
        """A `tf.data.Dataset` of every example once, in the order of `labels`."""

    def shuffled(self, seed: int, start: int, shard: tuple[int, int]) -> Iterable:
        """A `tf.data.Dataset` of endless passes, each in a different order, from position `start` on.

        Args:
            seed: of the orders; the stream is a pure function of it.
            start: position of the first example.
            shard: (index, count): of each `count` consecutive examples from `start` on, only number `index` is read.
        """


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Source:
    """Labelled images of one task, made by `load` or `from_arrays`.

    Attributes:
        name: name of the task.
        class_names: one name per class.
        image_size: (height, width) in pixels of the original images; the medians if images differ.
        train: the training split.
        test: the test split.
        identity: the kind of source and a fingerprint of its data.
        multi_label: True if an image may have several labels.
        validation: the split that the best weights of a run are chosen on; None if the test split has to serve for it.
        test_split: name of the test split in the data: that of a validation split if there is no other one.
        random_crop: False if a random crop of an image would change its label; none is made then.
        flip: False if mirroring an image would change its label; none is mirrored then.
        labels: name of the published list (`bit_keras.class_names`) that the classes belong to: all of its classes in
            its order, or some of them, by WordNet ids or lemmas; None for classes of the data's own.
        evaluation_only: why there are no training images, or none may be used; "" for data to train on.
        competing: classes among which alone evaluation measures a second accuracy; () for none.

    Example:
        >>> source = bit_keras.data.load("digits")
        >>> source
        Source(digits: 1,437 training and 360 test examples of 10 classes)
        >>> source.few_shot(5, seed=0).num_train
        50
    """

    name: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    train: Split
    test: Split
    identity: dict
    multi_label: bool = False
    validation: Split | None = None
    test_split: str = "test"
    random_crop: bool = True
    flip: bool = True
    labels: str | None = None
    evaluation_only: str = ""
    competing: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"Source({self.name}: {self.describe_splits()} of {self.num_classes:,} classes)"

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    @property
    def num_train(self) -> int:
        """Number of training examples."""
        return len(self.train)

    @property
    def num_test(self) -> int:
        """Number of test examples."""
        return len(self.test)

    @property
    def num_validation(self) -> int:
        """Number of validation examples, 0 without a validation split."""
        return 0 if self.validation is None else len(self.validation)

    def check_trainable(self, use: str = "training") -> None:
        """Raises DataError for data that are for evaluation only, and so not for `use`."""
        if self.evaluation_only:
            raise DataError(f"{self.name} must not be used for {use}: {self.evaluation_only}")

    def check_one_label(self, what: str) -> None:
        """Raises DataError if images may have several labels, which `what` does not support."""
        if self.multi_label:
            raise DataError(
                f"{what} takes one label per image; dataset {self.name} has several: use bit_keras.pretrain with "
                "--loss=sigmoid"
            )

    @known_arguments
    def few_shot(self, examples_per_class: int, seed: int, draw: str = "nested") -> "Source":
        """Returns this task with a random subset of its training split, a pure function of `seed`.

        Args:
            examples_per_class: training examples to draw per class, without replacement.
            seed: of the draw, in [0, 2**32).
            draw: "nested" draws from all examples, and a larger draw contains the smaller ones; "official" makes the
                draws of google-research/big_transfer, from the first 200,000 examples; "big_vision" makes those of
                google-research/big_vision, which take all examples of a class that has fewer.

        Raises:
            DataError: a class has too few examples, or images may have several labels.
            ValueError: an argument is out of its range.
        """
        check_integer("examples_per_class", examples_per_class)
        check_seed(seed)
        self.check_one_label("a few-shot draw")
        indices = few_shot.draw(self.train.labels, self.class_names, examples_per_class, seed, draw)
        drawn = {"examples_per_class": examples_per_class, "seed": seed}
        if draw != "nested":  # not recorded by earlier versions, whose runs still resume
            drawn["draw"] = draw
        identity = {**self.identity, "few_shot": [*self.identity.get("few_shot", []), drawn]}
        return dataclasses.replace(self, train=self.train.take(indices), identity=identity)

    @known_arguments
    def hold_out(self, share: float, seed: int = 0) -> "Source":
        """Returns this task with a share of its training split as the validation split.

        Args:
            share: fraction of the examples of each class, in [0, 1), at least one; 0 holds out none. Where the training
                split has groups, they are held out as a whole, and the share is approximate. In multi-label data it is
                a share of all examples.
            seed: of the choice, in [0, 2**32).

        Raises:
            DataError: the task has a validation split, a class has too few examples, or groups cannot be divided.
            ValueError: `share` is out of its range.
        """
        check_share(share)
        check_seed(seed)
        if self.validation is not None:
            raise DataError(
                f"{self.name} has a validation split of {self.num_validation:,} examples, so that no share of the "
                f"training split can be held out as well; got validation={share:g}: leave it out"
            )
        if not share:
            return self
        train, validation = self._divide_train(share, seed, "to train and to validate")
        identity = {**self.identity, "held_out": {"share": share, "seed": seed}}
        return dataclasses.replace(self, train=train, validation=validation, identity=identity)

    def _divide_train(self, share: float, seed: int, purpose: str) -> tuple[Split, Split]:
        """Returns the training split without a share of it, and that share; see `held_out.divide`."""
        return divide(self.train, self.class_names, share, seed, purpose)

    def without_validation(self) -> "Source":
        """Returns this task without its validation split: the best weights of a run are chosen on the test split.

        A share that `hold_out` has taken from the training split does not return to it.
        """
        identity = {name: value for name, value in self.identity.items() if name != "validation"}
        return dataclasses.replace(self, validation=None, identity=identity)

    @known_arguments
    def tested_on(self, split: str) -> "Source":
        """Returns this task with another split, "train" or "validation", in place of the test split.

        Raises:
            DataError: the task has no validation split.
            ValueError: `split` is another one.
        """
        check_choice("split", split, ("train", "validation"))
        examples = getattr(self, split)
        if examples is not None and not (split == "train" and self.evaluation_only):
            return dataclasses.replace(self, test=examples, test_split=split)
        if SPLIT_NAMES.get(self.test_split.lower()) == split:  # for want of a test split
            return self
        raise DataError(
            f"{self.name} has no {split} split, only {self.describe_splits()}; in Python, `hold_out` of the opened "
            "data takes one from the training examples"
        )

    def test_alone(self) -> "Source":
        """Returns this task without its training and validation images, to evaluate on it."""
        return dataclasses.replace(self.without_validation(), train=no_examples())

    def describe_splits(self) -> str:
        """Returns the numbers of examples, such as "1,437 training and 360 test examples"."""
        if self.evaluation_only:
            return self.describe_test()
        validation = f", {self.num_validation:,} validation" if self.validation is not None else ""
        return f"{self.num_train:,} training{validation} and {self.describe_test()}"

    def describe_test(self) -> str:
        """Returns the number of test examples, and the name of their split unless it is "test"."""
        other = "" if self.test_split == "test" else f" (the {self.test_split} split)"
        return f"{counted(self.num_test, 'test example')}{other}"

    def describe_balance(self) -> str:
        """Returns one line about the number of training images per class.

        For TensorFlow Datasets this needs a pass over the data.

        Raises:
            DataError: images may have several labels, or a label is out of its range.
        """
        self.check_one_label("the balance of the classes")
        return describe_balance(self.train.labels, self.class_names)

    def describe(self) -> dict:
        """Returns a description of the data for JSON files, which is equal for equal data only."""
        return {
            "name": self.name,
            "num_train": self.num_train,
            **({} if self.validation is None else {"num_validation": self.num_validation}),
            "num_test": self.num_test,
            "num_classes": self.num_classes,
            **self.identity,
        }


def check_share(share: float) -> None:
    """Raises ValueError unless a share for validation is in its range."""
    if not 0 <= share < 1:
        raise ValueError(f"validation must lie in [0, 1), as a share of the training images, got {share}")


def check_seed(seed: int) -> None:
    """Raises ValueError unless NumPy takes a seed."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in [0, 2**32), got {describe(seed)}")


def median_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Returns the median height and the median width of images with these sizes (height, width)."""
    height, width = np.median(np.asarray(sizes), axis=0)
    return round(float(height)), round(float(width))


def describe_balance(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns one line with the minimum, median and maximum of images per class, and the ratio of maximum to minimum.

    Args:
        labels: integers [N] in [0, number of classes).
        class_names: one name per class.

    Raises:
        DataError: a label is out of its range.
    """
    check_labels("labels", labels, len(class_names))
    counts = np.bincount(labels, minlength=len(class_names))
    fewest, most = counts.argmin(), counts.argmax()
    ratio = f"{counts[most] / counts[fewest]:.1f}" if counts[fewest] else "infinite"
    return (
        f"images per class: min {counts[fewest]} ({class_names[fewest]!r}), median {np.median(counts):g}, "
        f"max {counts[most]} ({class_names[most]!r}), ratio {ratio}"
    )
