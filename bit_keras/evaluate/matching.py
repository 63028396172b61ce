"""Which output of a head stands for which class of the data, also where both have published lists of classes."""

import collections
import dataclasses
import os
import re
from collections.abc import Sequence

import numpy as np

from bit_keras.checkpoints.card import Card
from bit_keras.data import DataError, Source
from bit_keras.data.errors import shortened
from bit_keras.evaluate.class_order import output_order
from bit_keras.network.class_names import class_names, wordnet_ids
from bit_keras.system.logs import logger
from bit_keras.zoo.label_lists import list_of
from bit_keras.zoo.presets import LABELS

_NO_OUTPUT = -1
# Of a class without an output: less than any logit, and finite, as logits must be.
_LOWEST = np.finfo(np.float32).min


@dataclasses.dataclass(frozen=True)
class Matching:
    """The outputs of a head for the classes of the data.

    Attributes:
        outputs: index of the output for each class, -1 for a class without one; None if they are the classes.
        class_names: names of all classes that compete: those of the data, then those that only the head knows.
    """

    outputs: tuple[int, ...] | None
    class_names: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether each class has an output."""
        return self.outputs is None or _NO_OUTPUT not in self.outputs


class Matched:
    """A classifier whose outputs are those of a `Matching`."""

    def __init__(self, network, outputs: Sequence[int]):
        self._network, self._outputs = network, np.array(outputs)

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        logits = np.asarray(self._network.predict_on_batch(images))[:, self._outputs]
        return np.where(self._outputs == _NO_OUTPUT, _LOWEST, logits)


def match_outputs(
    card: Card, num_outputs: int, model: str | os.PathLike, source: Source, match: str | None
) -> Matching:
    """Returns which output stands for which class.

    The outputs of published weights have published names: WordNet ids. A head of 21,843 classes is matched with the
    data of ILSVRC-2012 by them, and only these 1,000 classes compete; "teddy bear" has no output.

    Args:
        card: of the weights.
        num_outputs: outputs of the head.
        model: for messages.
        source: the data.
        match: "names", "order" or None; see `bit_keras.evaluate`.

    Raises:
        ValueError: the classes of the data are not among those of the head, or it is not known what its outputs are.
        ConnectionError, bit_keras.checkpoints.CheckpointError: a published list is needed and cannot be downloaded.
    """
    has = list_of(card.class_names or ()) or (card.labels if LABELS.get(card.labels) == num_outputs else None)
    wants = source.labels or list_of(source.class_names)
    if match == "order" or wants is None:
        return _by_names(card, has, num_outputs, model, source, match)
    is_whole = source.num_classes == LABELS[wants]
    if is_whole and has == wants:
        return Matching(None, source.class_names)
    if has is None:
        _check_knows(card, model, source, wants)
        return _by_names(card, has, num_outputs, model, _with_ids(source, wants), match)
    ids = wordnet_ids(wants)
    outputs = range(len(ids)) if has == wants else _outputs_for(ids, has, model)
    if is_whole:
        return Matching(tuple(outputs), source.class_names)
    order = output_order(ids, _ids_of(source, wants), match)
    names = (*source.class_names, *(ids[k] for k in order[source.num_classes :]))
    return Matching(tuple(outputs[k] for k in order), names)


def _outputs_for(ids: Sequence[str], labels: str, model: str | os.PathLike) -> list[int]:
    """Returns the index of each WordNet id in a published list, -1 for those that it lacks."""
    known = {wordnet_id: index for index, wordnet_id in enumerate(wordnet_ids(labels))}
    outputs = [known.get(wordnet_id, _NO_OUTPUT) for wordnet_id in ids]
    lacking = [wordnet_id for wordnet_id in ids if wordnet_id not in known]
    if len(lacking) == len(ids):
        raise ValueError(f"{os.fspath(model)} has no output for any class of the data: its classes are {labels}")
    logger.info("%s has no output for %s, which it never predicts", model, ", ".join(shortened(lacking)) or "none")
    return outputs


def _by_names(
    card: Card, has: str | None, num_outputs: int, model: str | os.PathLike, source: Source, match: str | None
) -> Matching:
    """Returns the matching by the names of the classes; by their order where names are not known."""
    _check_numbers(source, has)
    names = card.class_names
    has_all = num_outputs == source.num_classes
    if names is None and has and match != "order" and (has_all or match == "names"):
        names, source = wordnet_ids(has), _with_ids(source, has)
    if not has_all and (num_outputs < source.num_classes or names is None or match == "order"):
        raise ValueError(
            f"the head must have an output for each class of the data; {os.fspath(model)} has {num_outputs:,} "
            f"outputs, {source.name} has {source.num_classes:,} classes: {_way_out(source, has, match)}"
        )
    outputs = output_order(names, source.class_names, match)
    if has_all:
        return Matching(outputs and tuple(outputs), source.class_names)
    return Matching(tuple(outputs), tuple(names[k] for k in outputs))


def _check_numbers(source: Source, has: str | None) -> None:
    """Raises ValueError for folders named by numbers of ILSVRC-2012's classes, which are in alphabetical order."""
    names = source.class_names
    if has == "ilsvrc2012" and all(map(str.isdecimal, names)) and list(names) != sorted(names, key=int):
        raise ValueError(
            f"{source.name} has class folders named by numbers, which alphabetical order would give to other classes; "
            "imagenet_v2:PATH takes the folder 10 as class 10"
        )


def _way_out(source: Source, has: str | None, match: str | None) -> str:
    if source.evaluation_only:
        return "evaluate weights with these classes, such as BiT-M-R50x1-ILSVRC2012"
    by_names = f", or --match_classes=names to look for the classes in {has}" if has and match is None else ""
    return f"fine-tune the model on these data first{by_names}"


def _check_knows(card: Card, model: str | os.PathLike, source: Source, wants: str) -> None:
    if card.class_names is None:
        raise ValueError(
            f"it must be known which class each output stands for; {os.fspath(model)} does not tell, and {source.name} "
            f"has classes of {wants}: if the outputs have its order, say --match_classes=order"
        )


def _with_ids(source: Source, labels: str) -> Source:
    """Returns data whose classes are named by WordNet ids, where they are in a published list."""
    return dataclasses.replace(source, class_names=tuple(_ids_of(source, labels)))


def _ids_of(source: Source, labels: str) -> list[str]:
    """Returns the WordNet ids of the classes; a name that is neither an id nor a lemma of the list stays as it is.

    Raises:
        DataError: the data must have classes of this list, and a name is none, or that of two classes.
    """
    known = wordnet_ids(labels)
    if source.labels == labels and source.num_classes == len(known):
        return list(known)
    if set(source.class_names) <= set(known):
        return list(source.class_names)
    ids = collections.defaultdict(set)
    for wordnet_id, lemmas in class_names(labels):
        for name in (wordnet_id, *lemmas.split(",")):
            ids[_plain(name)].add(wordnet_id)
    found = {name: ids.get(_plain(name), ()) for name in source.class_names}
    unclear = [f"{name!r} ({', '.join(sorted(each)) or 'unknown'})" for name, each in found.items() if len(each) != 1]
    if unclear and source.labels == labels:
        raise DataError(
            f"{source.name}: class folders must be named by a WordNet id or a lemma of {labels}, got "
            f"{', '.join(shortened(unclear))}; classes.json in the folder can give {{folder: WordNet id}}"
        )
    return [next(iter(each)) if len(each) == 1 else name for name, each in found.items()]


def _plain(name: str) -> str:
    """Returns a name in lower case, with one space for everything that is neither a letter nor a digit."""
    return re.sub(r"[\W_]+", " ", name).strip().lower()
