"""A training with verbose=False, which must print nothing."""

import bit_keras

bit_keras.finetune(
    model="BiT-mini-R17x0.5",
    dataset="digits",
    workdir="runs/silent",
    steps=5,
    batch_size=8,
    resolution=32,
    verbose=False,
)
