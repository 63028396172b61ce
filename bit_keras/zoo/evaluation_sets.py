"""Table of the sets that published weights are evaluated on, without training, by the classes of ILSVRC-2012.

Sources: the READMEs of modestyachts/ImageNetV2, google-research/reassessed-imagenet and google-research/big_transfer,
the page and the template of ObjectNet (abarbu/objectnet-template-tensorflow), TensorFlow Datasets 4.9.10.
"""

import dataclasses
import re

from bit_keras.zoo.preparation import Preparation, preparation_of

_VERSION = re.compile(r"[\d.*]+")  # of TensorFlow Datasets, "imagenet_v2:3.0.0"


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """One set of images, which is never used for training.

    Attributes:
        name: what users write, alone for TensorFlow Datasets, or with a path: "objectnet:/data/objectnet-1.0.zip".
        builder: name in TensorFlow Datasets, "" if the set is not there.
        split: name of its split there.
        num_examples: images that are counted; None where no source states it.
        path: what the path leads to.
        by_hand: where to get what the path leads to, in sentences.
        num_classes: number of classes that have images.
        reason: why it must not be used for training.
    """

    name: str
    builder: str
    split: str
    num_examples: int | None
    path: str
    by_hand: str = ""
    num_classes: int = 1_000
    reason: str = "it is for testing alone"

    @property
    def preparation(self) -> Preparation:
        """What preparing the data needs beyond TensorFlow Datasets."""
        return preparation_of(self.builder) if self.builder else Preparation(note=self.by_hand)


def _v2(variant: str) -> EvaluationSet:
    return EvaluationSet(
        f"imagenet_v2/{variant}",
        f"imagenet_v2/{variant}",
        "test",
        10_000,
        "its folder imagenetv2-*-format-val, with the class folders 0 to 999",
    )


EVALUATION_SETS = {
    row.name: row
    for row in (
        EvaluationSet(
            "imagenet2012",
            "imagenet2012",
            "validation",
            50_000,
            "the validation images in 1,000 class folders that are named by the WordNet ids",
        ),
        EvaluationSet(
            "imagenet2012_real",
            "imagenet2012_real",
            "validation",
            46_837,
            "the validation images ILSVRC2012_val_*.JPEG, with real.json of google-research/reassessed-imagenet in "
            "that folder or beside it",
        ),
        *map(_v2, ("matched-frequency", "threshold-0.7", "topimages")),
        EvaluationSet(
            "objectnet",
            "",
            "",
            18_574,
            "objectnet-1.0.zip, or what it holds, unpacked",
            "Download https://objectnet.dev/downloads/objectnet-1.0.zip (MD5 522aa986a604c41ea641411c1d0a292e). "
            "Without the program unzip it is read slowly; to unpack it: "
            "UNZIP_DISABLE_ZIPBOMB_DETECTION=TRUE unzip -P objectnetisatestset objectnet-1.0.zip",
            113,
            "its licence forbids to tune parameters on it",
        ),
        EvaluationSet(
            "out_of_context",
            "",
            "",
            None,
            "a folder of class folders, named after classes of ILSVRC-2012",
            "Download it where the README of google-research/big_transfer says, and unpack it.",
            21,
        ),
    )
}
_DEFAULT_OF = {"imagenet_v2": "imagenet_v2/matched-frequency"}  # as in TensorFlow Datasets


def find_set(name: str) -> tuple[EvaluationSet | None, str]:
    """Returns the evaluation set that a name of data stands for, None for other data, and its path, "" for none.

    >>> find_set("objectnet:/data/objectnet-1.0.zip")[1]
    '/data/objectnet-1.0.zip'
    """
    known, _, rest = name.partition(":")
    row = EVALUATION_SETS.get(_DEFAULT_OF.get(known, known))
    if row is None:
        return None, ""
    return row, "" if _VERSION.fullmatch(rest) else rest
