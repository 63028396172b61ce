"""Program: converts the weights of a bit_keras.pretrain run to the bundled weight file, in half precision.

Example:
    python -m pretraining.pack --run=/tmp/mini --dataset=/tmp/upstream.npz --out=bit_keras/weights/BiT-mini-R17x0.5.npz
"""

import hashlib
from pathlib import Path

import numpy as np
from absl import flags

from bit_keras import data
from bit_keras.checkpoints import read_npz
from bit_keras.metrics import predict
from bit_keras.network.model import BiT
from bit_keras.system import command_line
from bit_keras.system.files import whole


def pack(weights: Path, out: Path) -> None:
    """Writes a compressed copy of an official npz file in float16."""
    arrays = {key: array.astype(np.float16) for key, array in read_npz(weights).items()}
    with whole(out) as path:
        np.savez_compressed(path, **arrays)


def compare(before: Path, after: Path, source: data.Source, resolution: int) -> str:
    """Returns a sentence that compares test accuracies and logits of two weight files."""
    batches = data.test_batches(source, batch_size=256, crop=resolution)
    models = [BiT.from_preset(path) for path in (before, after)]
    was, now = (predict(model, batches) for model in models)
    logits = [np.concatenate([model.predict_on_batch(images) for images, _ in batches]) for model in models]
    difference = np.abs(logits[1] - logits[0]).max() / np.abs(logits[0]).max()
    return (
        f"test accuracy {was.accuracy:.4f} in {before.name}, {now.accuracy:.4f} in {after.name}; largest difference of "
        f"the logits {difference:.1e} of their scale"
    )


def main() -> None:
    values = flags.FLAGS
    weights, out = Path(values.run, "weights.npz"), Path(values.out)
    pack(weights, out)
    print(compare(weights, out, data.load(values.dataset), values.resolution))
    print(f"{out.stat().st_size:,} bytes, sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "Folder of the run.", required=True)
    flags.DEFINE_string("dataset", None, "Dataset that the run was trained on.", required=True)
    flags.DEFINE_string("out", None, "npz file to write.", required=True)
    flags.DEFINE_integer("resolution", 32, "Side of the test images, in pixels.")
    command_line.run(main)
