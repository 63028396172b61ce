"""What the installation of one extra must allow: a prediction with the bundled weights, and a short training."""

import sys
from pathlib import Path

import numpy as np

import bit_keras  # before Keras: it starts TensorFlow without its messages

PRESET = "BiT-mini-R17x0.5"


def main() -> None:
    model = bit_keras.BiT.from_preset(PRESET)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    logits = model.predict(images, verbose=0)
    if logits.shape != (2, model.num_classes) or not np.isfinite(logits).all():
        sys.exit(f"the logits of two images must be finite, [2, {model.num_classes}], got {logits}")
    result = bit_keras.finetune(model=PRESET, dataset="digits", workdir="run", steps=5, batch_size=8, resolution=32)
    if not 0 <= result.test_accuracy <= 1 or not Path("run", "weights.npz").is_file():
        sys.exit(f"the training must write run/weights.npz, got test accuracy {result.test_accuracy}")
    print(f"a prediction and a training of five steps on {result.summary['backend']}")


if __name__ == "__main__":
    main()
