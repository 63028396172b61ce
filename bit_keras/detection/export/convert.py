"""Program: writes the folded network of a detector as LiteRT and ONNX files, as `bit_keras.edge.convert`.

python -m bit_keras.detection.export.convert NETWORK.keras CARD.json OUTPUT_FOLDER FORMAT...
"""

import sys
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.checkpoints.card import Card
from bit_keras.edge.card import with_files
from bit_keras.edge.convert import LITERT, write_onnx
from bit_keras.edge.export import FORMATS


def convert(network: keras.Model, card: Card, folder: Path, formats: list[str]) -> None:
    for name in formats:
        path = folder / FORMATS[name].file_name
        if name == "onnx":
            write_onnx(_function(network, None), card, path, ("batch", "anchors"))
        else:
            model = LITERT[name](network, _function(network, card.resolution), None)
            path.write_bytes(with_files(model, card))


def _function(network: keras.Model, size: int | None):
    """Returns a tf.function from "images" [N, size, size, 3] in [0, 1] to "class" [N, A, K] and "box" [N, A, 4]."""

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], name="images")], autograph=False)
    def call(images):
        return network(2.0 * images - 1.0, training=False)

    return call


if __name__ == "__main__":
    source, card_file, output, *names = sys.argv[1:]
    read = Card.from_json(Path(card_file).read_text(encoding="utf-8"), card_file)
    convert(keras.models.load_model(source, compile=False), read, Path(output), names)
