"""The detector: a RetinaNet on the stages of a BiT."""

import dataclasses
import functools
import os
from collections.abc import Sequence

import keras
from keras import ops

from bit_keras import checkpoints
from bit_keras.checkpoints import CheckpointError, names, provenance
from bit_keras.checkpoints.card import Card, origin
from bit_keras.detection.network.anchors import PER_CELL, anchor_boxes
from bit_keras.detection.network.losses import detection_losses
from bit_keras.detection.network.matching import match
from bit_keras.detection.network.pyramid import GROUPS, head, pyramid
from bit_keras.detection.network.targets import check_structure, check_targets
from bit_keras.distribution import sum_over_devices
from bit_keras.network.base import Network, check_arguments, freeze_named, frozen_names
from bit_keras.network.model import Backbone
from bit_keras.system.checks import check_integer, check_names, known_arguments
from bit_keras.system.paths import check_place, expanded
from bit_keras.zoo.presets import PRESETS

TASK = "detection"  # in the card
WIDTH, DEPTH = 256, 4  # of RetinaNet
_STAGES = {3: "block2", 4: "block3", 5: "block4"}  # C3 to C5, of strides 8 to 32
_ARGUMENTS = ("variant", "num_classes", "width", "depth", "dtype", "remat", "name", "trainable")


@keras.saving.register_keras_serializable(package="bit_keras")
class Detector(Network):
    """A RetinaNet on a BiT: images to class logits and boxes of all anchors.

    Use `Detector.from_preset` for trained weights; here all weights are random. `compile` needs an optimizer, no loss.

    Source: arXiv 1708.02002; BiT's paper, arXiv 1912.11370, section 3.7. The pyramid reads the stages of the backbone
    after norm and ReLU; pyramid and heads have group normalization, in the heads one per level.

    Args:
        variant: name of a row of `bit_keras.zoo.variants`, for example "R101x3".
        num_classes: number of classes, without background, 1 or more.
        width: channels of pyramid and heads, a multiple of 32.
        depth: convolutions in each head before its prediction, 1 to 16.
        dtype: dtype policy or its name, None for Keras's global one.
        remat: rematerialize the backbone; see `bit_keras.network.model.Backbone`.
        name: of the model.

    Attributes:
        backbone: the `Backbone`, whose layers are also this network's.
        card: what is known about the weights; see `bit_keras.BiT`. Its class names must be as many as the classes.

    Input shape: [N, H, W, 3] in [-1, 1], any H and W.
    Output shape: {"class": logits [N, A, num_classes], "box": [N, A, 4]}, float32 under a mixed policy. A is the
        number of anchors, 9 per cell of the levels with strides 8 to 128; `detect` makes boxes of the outputs.

    Targets of `fit` and `evaluate`: {"boxes": float32 [N, G, 4], 0 padded; "labels": int32 [N, G], -1 padded}, with
        boxes as top, left, bottom, right in pixels, and G of 1 or more. A label of `num_classes` or more in a batch
        makes the loss NaN.

    Raises:
        ValueError: the variant is unknown or lacks a stage, or an argument is out of its range.
        TypeError: an argument is unknown or of another type.

    Example:
        >>> detector = detection.Detector.from_preset("BiT-mini-R17x0.5", num_classes=20, width=32, depth=1)
        >>> outputs = detector(np.zeros((1, 64, 64, 3), "float32"))
        >>> outputs["class"].shape, outputs["box"].shape
        (TensorShape([1, 774, 20]), TensorShape([1, 774, 4]))
        >>> detector.compile(keras.optimizers.SGD(0.01, momentum=0.9))  # for `fit`, with the targets above
    """

    def __init__(
        self,
        variant: str,
        num_classes: int | None = None,  # checked after the names, so that an error reports a wrong name first
        width: int = WIDTH,
        depth: int = DEPTH,
        dtype=None,
        remat: bool = False,
        name: str = "detector",
        **kwargs,
    ):
        check_names("Detector", kwargs, _ARGUMENTS)
        num_classes, width, depth = check_sizes(num_classes, width, depth)
        check_arguments(remat=remat, name=name, **kwargs)
        backbone = Backbone(variant, dtype=dtype, remat=remat)
        if missing := [stage for stage in _STAGES.values() if stage not in backbone.normalized_outputs]:
            raise ValueError(f"a detector reads {', '.join(_STAGES.values())}; {variant} has no {', '.join(missing)}")
        policy = backbone.dtype_policy
        stages = {level: backbone.normalized_outputs[stage] for level, stage in _STAGES.items()}
        maps = pyramid(stages, width, policy)
        sizes = {"per_cell": PER_CELL, "width": width, "depth": depth, "policy": policy}
        outputs = {
            "class": head("class_head", maps, num_classes, **sizes),
            "box": head("box_head", maps, 4, **sizes),
        }
        super().__init__(inputs=backbone.input, outputs=outputs, name=name, **kwargs)
        # A bound method: see Backbone.
        self._above_backbone = keras.Function(stages, outputs).call
        self.dtype_policy = policy
        self.backbone = backbone
        self.num_classes, self.width, self.depth = num_classes, width, depth
        self._card = Card(variant=variant, task=TASK)
        self._class_loss = keras.metrics.Mean("class_loss")
        self._box_loss = keras.metrics.Mean("box_loss")

    @property
    def card(self) -> Card:
        return self._card

    @card.setter
    def card(self, card: Card) -> None:
        if card.class_names is not None and len(card.class_names) != self.num_classes:
            raise ValueError(
                f"class_names must be the {self.num_classes} classes of the detector, got {len(card.class_names)} names"
            )
        self._card = card

    def check_classes(self, names: Sequence[str], what: str) -> None:
        """Checks that this detector finds the classes of data with boxes.

        Args:
            names: the classes of the data, in order.
            what: name of the data, for the message.

        Raises:
            ValueError: the number of classes differs, or the card has other names.
        """
        way_out = "For a new detector, start from the classifier that this one started from"
        if len(names) != self.num_classes:
            raise ValueError(
                f"the detector must have the {len(names)} classes of {what}, got {self.num_classes}. {way_out}"
            )
        for ours, theirs in zip(self.class_names or names, names, strict=True):
            if ours != theirs:
                raise ValueError(
                    f"the detector must have the classes of {what}, got {ours!r} where the data have {theirs!r}. "
                    f"{way_out}"
                )

    @classmethod
    @known_arguments((), unchecked=("num_classes", "width", "depth"))
    def from_preset(
        cls,
        preset: str | os.PathLike,
        num_classes: int | None = None,
        width: int | None = None,
        depth: int | None = None,
        variant: str | None = None,
        dtype=None,
        file_format: str | None = None,
        remat: bool = False,
    ) -> "Detector":
        """Builds a detector with trained weights: all of them, from the file of a detector, or those of the backbone.

        Args:
            preset: as in `bit_keras.BiT.from_preset`, of a classifier or of a detector.
            num_classes: required for the file of a classifier; the file of a detector must have as many.
            width, depth: as in `Detector`; None for those of the file, or 256 and 4 for a classifier's.
            variant, dtype, file_format, remat: as in `bit_keras.BiT.from_preset`.

        Raises:
            ValueError: an argument is out of its range, or `num_classes` is missing; or as in
                `bit_keras.BiT.from_preset`.
            FileNotFoundError, ConnectionError, ImportError: as there.
            bit_keras.checkpoints.CheckpointError: as there; or the file's detector has other sizes than those given.
        """
        given = {"num_classes": num_classes, "width": width, "depth": depth}
        given = {name: value for name, value in given.items() if value is not None}
        check_sizes(**{"num_classes": 1} | given)  # before a download
        path, variant = checkpoints.locate(preset, variant, file_format)
        arrays = checkpoints.read_weights(path)
        shapes = checkpoints.shapes_of(arrays)
        variant = checkpoints.resolve_variant(path, _of_backbone(shapes), variant)
        held = checkpoints.detector_sizes(path, shapes)
        if held is None and num_classes is None:
            raise ValueError(f"num_classes must be given: {path} holds a classifier, so the heads are new")
        sizes = {"num_classes": num_classes, "width": WIDTH, "depth": DEPTH} | given
        if held is not None:
            sizes = dict(zip(("num_classes", "width", "depth"), held, strict=True))
            _compare(path, sizes, given)
        detector = cls(variant, **sizes, dtype=dtype, remat=remat)
        _assign(detector, arrays)
        card = Card(variant=variant, task=TASK, weights=origin(preset))
        if held is not None:
            card = dataclasses.replace(provenance.read_card(path).of_head(held[0], preset), variant=variant, task=TASK)
        detector.card = card
        return detector

    def call(self, inputs, training=None, mask=None):
        if not self.backbone.remat:
            return super().call(inputs, training=training, mask=mask)
        if not training:
            self._range_check.look(inputs)
        _, stages = self.backbone.walk(inputs, training)
        return self._above_backbone({level: stages[stage] for level, stage in _STAGES.items()})

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the focal loss of the classes plus the loss of the boxes and those of regularizers; see Keras.

        Raises:
            ValueError: the targets have other names or shapes, or there are sample weights, which have no meaning here.
        """
        check_structure(y)
        if sample_weight is not None:
            raise ValueError("sample_weight must be None: a detector has no weights of images")
        height, width = ops.shape(x)[1:3]
        boxes, labels = ops.cast(y["boxes"], "float32"), ops.cast(y["labels"], "int32")
        targets = match(anchor_boxes(height, width), boxes, labels)
        class_loss, box_loss, _ = detection_losses(y_pred, targets)
        # A graph cannot raise; a label without an output would be learnt as background.
        class_loss = ops.where(ops.max(labels) < self.num_classes, class_loss, float("nan"))
        count = ops.shape(x)[0]
        self._class_loss.update_state(sum_over_devices(class_loss), sample_weight=count)
        self._box_loss.update_state(sum_over_devices(box_loss), sample_weight=count)
        # These are this device's shares, and tf.distribute adds up the gradients of the devices. Each device has the
        # regularizers whole, hence Keras scales those.
        return sum(map(self._aggregate_additional_loss, self.losses), start=class_loss + box_loss)

    # In addition to Keras, these check targets that are arrays before the first step.

    @functools.wraps(keras.Model.fit)
    def fit(self, x=None, y=None, *args, **kwargs):
        self._check(y)
        return super().fit(x, y, *args, **kwargs)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, x=None, y=None, *args, **kwargs):
        self._check(y)
        return super().evaluate(x, y, *args, **kwargs)

    def _check(self, targets) -> None:
        if targets is not None:
            check_targets(targets, self.num_classes)

    def get_config(self):
        return {
            **super().get_config(),
            "variant": self.variant.name,
            "num_classes": self.num_classes,
            "width": self.width,
            "depth": self.depth,
            "remat": self.backbone.remat,
            "card": self.card.to_dict(),
            "frozen": frozen_names(self.layers),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        detector = cls(**{key: value for key, value in config.items() if key not in ("frozen", "card")})
        detector.card = Card.from_dict(config["card"], "this configuration")
        freeze_named(detector.layers, config["frozen"])
        return detector


def load_weights(detector: Detector, path: str | os.PathLike) -> None:
    """Sets the weights of a detector from the file of a detector, or those of its backbone from that of a classifier.

    Args:
        detector: unchanged when the file is refused.
        path: as in `bit_keras.load_weights`.

    Raises:
        As `bit_keras.load_weights`.

    Example:
        >>> detector = detection.Detector("R17x0.5", num_classes=3, width=32, depth=1)
        >>> detection.load_weights(detector, "BiT-mini-R17x0.5")  # those of its backbone
    """
    path = expanded(path)
    if path in PRESETS or "://" in path:
        path, _ = checkpoints.locate(path, detector.variant_name)
    arrays = checkpoints.read_weights(path)
    shapes = checkpoints.shapes_of(arrays)
    checkpoints.resolve_variant(path, _of_backbone(shapes), detector.variant_name)
    held = checkpoints.detector_sizes(path, shapes)
    if held is not None:
        needed = {name: getattr(detector, name) for name in ("num_classes", "width", "depth")}
        _compare(path, dict(zip(needed, held, strict=True)), needed)
    _assign(detector, arrays)


@known_arguments
def save_npz(detector: Detector, path: str | os.PathLike) -> None:
    """Writes the weights of a detector as an npz file with its card, whole or not at all.

    The backbone has the official keys, and the layers above it names like them, such as
    "resnet/pyramid/level3/lateral/conv2d/kernel".

    Args:
        detector: unchanged.
        path: the file, which must end in ".npz"; an existing file is replaced.

    Raises:
        TypeError: `detector` is not a Detector.
        ValueError: the name does not end in ".npz", or a weight is NaN or infinite.

    Example:
        >>> detection.save_npz(detection.Detector("R17x0.5", num_classes=3, width=32, depth=1), "detector.npz")
        >>> detection.Detector.from_preset("detector.npz").num_classes
        3
    """
    path = check_place("path", path)
    checkpoints.write_npz(checkpoints.collect(_variables(detector)), path, detector.card)


def _variables(detector: Detector, is_whole: bool = True) -> dict[str, keras.Variable]:
    """Returns {key: variable} of the backbone, and of the rest if it is wanted."""
    paths = [*names.backbone_paths(detector.variant), *(names.detector_paths(detector.depth) if is_whole else ())]
    return checkpoints.named_variables(detector, paths)


def _assign(detector: Detector, arrays) -> None:
    is_whole = any(map(names.is_of_detector, arrays))
    left_out = set() if is_whole else {key for key in arrays if names.is_head(key)}
    what = f"a detector on {detector.variant_name}" if is_whole else detector.variant_name
    checkpoints.assign(_variables(detector, is_whole), arrays, what, left_out)


def _of_backbone(shapes) -> dict:
    return {key: shape for key, shape in shapes.items() if not names.is_of_detector(key)}


def _compare(path, held: dict, needed: dict) -> None:
    """Raises CheckpointError unless a file's detector has the sizes that are needed."""
    for name, value in needed.items():
        if held[name] != value:
            raise CheckpointError(
                f"{path} holds a detector with {name}={held[name]}, not {value}; for a new one on its backbone, load "
                "the classifier that it started from"
            )


def check_sizes(num_classes: int, width: int = WIDTH, depth: int = DEPTH) -> tuple[int, int, int]:
    """Returns the arguments of `Detector` as integers; raises ValueError if one is out of its range."""
    num_classes, width, depth = (
        check_integer(name, value)
        for name, value in {"num_classes": num_classes, "width": width, "depth": depth}.items()
    )
    if width % GROUPS:
        below = width // GROUPS * GROUPS
        nearest = f"are {below} or {below + GROUPS}" if below else f"is {GROUPS}"
        raise ValueError(
            f"width must be a multiple of the {GROUPS} groups of the norms, got {width}; the nearest {nearest}"
        )
    if depth > names.MAX_DEPTH:
        raise ValueError(f"depth must be {names.MAX_DEPTH} or less, got {depth}")
    return num_classes, width, depth
