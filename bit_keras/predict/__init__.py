"""The classes of photos by name, as a function and as a program (`python -m bit_keras.predict`)."""

from collections.abc import Iterator

from bit_keras.inference.prediction import Prediction
from bit_keras.system.callable_module import make_callable
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import shows_messages

__all__ = ["Prediction", "iterate", "predict"]


@known_arguments(("top", "class_names", "resolution", "precision", "batch_size", "loader"))
@shows_messages
def predict(
    model, images, *, value_range: tuple[float, float] | None = None, verbose: bool = True, **options
) -> list[Prediction]:
    """Returns the most likely classes of images, which are prepared as in evaluation.

    An image that cannot be read is a result with an `error`, not an exception.

    Args:
        model: a `BiT`; or the name of published weights, the path or address of a weight file, the folder of a run
            (whose best.npz is taken, or else weights.npz), or a SavedModel directory.
        images: one, or a list, of: paths of files; paths of folders, of which all image files are taken; patterns such
            as `"photos/*.jpg"`; addresses that begin with http:// or https://; PIL images; arrays [H, W, 3] or
            [N, H, W, 3], uint8 with values from 0 to 255, or floats with a `value_range`.
        value_range: values of float arrays, (0, 1), (0, 255) or (-1, 1). They are not guessed.
        verbose: False shows only warnings.
        top: number of classes per image, 5 if not given.
        class_names: names in the order of the outputs, the path of a file with one name per line, or "ilsvrc2012" or
            "imagenet21k"; if not given, those that the weights carry.
        resolution, precision, batch_size, loader: as in `bit_keras.inference.predictor.Predictor`.

    Returns:
        One `Prediction` per image, in order, with `file`, `names`, `probabilities`, `indices` and `error`; `name` and
        `probability` are those of the most likely class. A notebook shows the list as a table.

    Raises:
        TypeError: an argument does not exist, or has the wrong type.
        ValueError: an argument is out of its range, or an array has another shape, dtype or range of values.
        FileNotFoundError, ConnectionError, ImportError, bit_keras.checkpoints.CheckpointError: as `BiT.from_preset`.

    Example:
        >>> rows = bit_keras.predict("runs/birds", ["robin.jpg", "photos/"], verbose=False)  # of `finetune`
        >>> [row.file for row in rows]
        ['robin.jpg', 'photos/0.jpg', 'photos/1.jpg']
        >>> sorted(rows[0].names), rows[0].probability >= 0.5
        (['robin', 'wren'], True)
    """
    from bit_keras.inference.predictor import Predictor
    from bit_keras.inference.watched import watched
    from bit_keras.predict.shown import ShownPredictions

    rows = Predictor(model, **options).iterate(images, value_range=value_range)
    with watched(rows) as rows:
        return ShownPredictions(rows)


@known_arguments(("top", "class_names", "resolution", "precision", "batch_size", "loader"))
def iterate(model, images, *, value_range: tuple[float, float] | None = None, **options) -> Iterator[Prediction]:
    """Yields what `predict` returns, in constant memory: `images` may be an endless iterable of paths.

    Use a `bit_keras.inference.predictor.Predictor` to load the network once for several calls.

    Args:
        model, images, value_range, top, class_names, resolution, precision, batch_size, loader: as in `predict`.

    Raises:
        TypeError, ValueError: as `predict`.
        FileNotFoundError, ConnectionError, ImportError, bit_keras.checkpoints.CheckpointError: as `predict`.

    Example:
        >>> from bit_keras.predict import iterate
        >>> for row in iterate("BiT-mini-R17x0.5", ["robin.jpg", "broken.jpg"], top=1):
        ...     print(row.file, row.error or len(row.names))
        robin.jpg 1
        broken.jpg ...
    """
    from bit_keras.inference.predictor import Predictor

    return Predictor(model, **options).iterate(images, value_range=value_range)


make_callable(__name__, predict)
