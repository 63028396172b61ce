"""Predictions in Beam pipelines: the model of `RunInference`, for Dataflow and other runners."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence

from bit_keras.inference.address import fetch_image, is_address
from bit_keras.inference.ahead import prepared
from bit_keras.inference.inputs import Input
from bit_keras.inference.prediction import Prediction
from bit_keras.inference.predictor import Predictor
from bit_keras.system.checks import check_integer
from bit_keras.system.optional import install_command

try:
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.ml.inference.base import ModelHandler
except ImportError as error:
    message = f"a Beam pipeline needs the package apache_beam: {install_command('apache_beam')}"
    raise ImportError(message, name="apache_beam") from error

Element = str | tuple[str, bytes]


class BitModelHandler(ModelHandler[Element, Prediction, Predictor]):
    """The classifier of `RunInference`: from images to a `Prediction` each; one that cannot be read has an error.

    Elements are paths or addresses of image files, on any file system of Beam or at http:// and https://, or pairs of a
    name and the content of an image file. Each process loads the network once; weights at an address are downloaded
    once per machine.

    Args:
        model: as in `bit_keras.inference.predictor.Predictor`, but no object; a path must exist on the workers.
        batch_size: images per batch, 1 or more; the last one of a bundle may be smaller.
        large_model: True to hold one network per machine, which its processes share, in place of one per process.
        **options: top, class_names, resolution, precision, loader and features, as in `Predictor`.

    Raises:
        ImportError: apache-beam is not installed; when the module is imported.
        ValueError, TypeError: `batch_size` is not an integer of 1 or more. Other arguments are checked when a worker
            loads the network: see `Predictor`.

    Example:
        >>> import apache_beam as beam
        >>> from apache_beam.ml.inference.base import RunInference
        >>> from bit_keras.bulk.beam import BitModelHandler
        >>> with beam.Pipeline() as pipeline:
        ...     photos = pipeline | beam.Create(["robin.jpg", "broken.jpg"])
        ...     rows = photos | RunInference(BitModelHandler("BiT-mini-R17x0.5", top=3))
        ...     lines = rows | beam.Map(lambda row: f"{row.file}: {len(row.names)} names")
        ...     _ = lines | beam.io.WriteToText("rows", shard_name_template="")
        >>> with open("rows") as file:
        ...     print(*sorted(file), sep="", end="")
        broken.jpg: 0 names
        robin.jpg: 3 names
    """

    def __init__(self, model: str | os.PathLike, *, batch_size: int = 32, large_model: bool = False, **options):
        self._model, self._options = os.fspath(model), options
        self._batch_size, self._is_shared = check_integer("batch_size", batch_size), large_model

    def load_model(self) -> Predictor:
        return Predictor(self._model, batch_size=self._batch_size, **self._options)

    def run_inference(
        self, batch: Sequence[Element], model: Predictor, inference_args: Mapping | None = None
    ) -> Iterator[Prediction]:
        for some in prepared(map(_input, batch), model.read, self._batch_size):
            yield from model.predict(some)

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": self._batch_size, "max_batch_size": self._batch_size}

    def share_model_across_processes(self) -> bool:
        return self._is_shared

    def get_metrics_namespace(self) -> str:
        return "bit_keras"


def _input(element: Element) -> Input:
    if isinstance(element, str):
        return Input(element, functools.partial(_read, element))
    name, content = element
    return Input(name, lambda: content)


def _read(name: str) -> bytes:
    if is_address(name):
        return fetch_image(name)
    with FileSystems.open(name) as file:
        return file.read()
