"""The result for one image."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """The most likely classes of one image, or the reason why there are none.

    Attributes:
        file: path or address of the image, or "image 3" for the fourth one of those that are in memory.
        names: names of the classes, the most likely one first; () if the image cannot be read.
        probabilities: their probabilities, in [0, 1].
        indices: the outputs of the network that they are, from 0 on.
        error: why the image cannot be read, None if it can.
        thumbnail: uint8 [S, S, 3], the image as the network sees it, if one was asked for.
        features: float32 [D], the pooled features, if they were asked for.

    Example:
        >>> [row] = bit_keras.predict("BiT-mini-R17x0.5", "robin.jpg", top=2, verbose=False)
        >>> row.name == row.names[0], row.probability == row.probabilities[0]
        (True, True)
        >>> row.to_dict()
        {'file': 'robin.jpg', 'predictions': [{'class': ..., 'probability': ..., 'index': ...}, {...}], 'error': None}
    """

    file: str
    names: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    indices: tuple[int, ...] = ()
    error: str | None = None
    thumbnail: np.ndarray | None = dataclasses.field(default=None, repr=False)
    features: np.ndarray | None = dataclasses.field(default=None, repr=False)

    @property
    def name(self) -> str | None:
        """Name of the most likely class; None if the image cannot be read."""
        return self.names[0] if self.names else None

    @property
    def probability(self) -> float | None:
        """Probability of the most likely class; None if the image cannot be read."""
        return self.probabilities[0] if self.probabilities else None

    def to_dict(self) -> dict:
        """Returns {"file", "predictions": [{"class", "probability", "index"}, ...], "error"}, JSON-able.

        A prediction with features also has "features".
        """
        ranked = zip(self.names, self.probabilities, self.indices)
        predictions = [{"class": name, "probability": share, "index": index} for name, share, index in ranked]
        features = {} if self.features is None else {"features": self.features.tolist()}
        return {"file": self.file, "predictions": predictions, "error": self.error, **features}
