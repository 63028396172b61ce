"""The bundled weight file."""

import numpy as np

from bit_keras import data
from bit_keras.checkpoints import read_npz, write_npz
from bit_keras.metrics import predict
from bit_keras.network.model import BiT
from pretraining import pack


def test_a_packed_file_is_half_as_large_and_predicts_nearly_the_same(golden_npz, tmp_path):
    weights, packed = tmp_path / "weights.npz", tmp_path / "packed.npz"
    write_npz(read_npz(golden_npz), weights)
    pack.pack(weights, packed)
    assert packed.stat().st_size < 0.55 * weights.stat().st_size
    for key, array in read_npz(weights).items():
        np.testing.assert_allclose(read_npz(packed)[key], array, rtol=2**-11, atol=2**-25)

    classes = BiT.from_preset(weights).num_classes
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    source = data.from_arrays(images, np.arange(8) % classes, images, np.arange(8) % classes)
    accuracy = predict(BiT.from_preset(packed), data.test_batches(source, batch_size=8, crop=16)).accuracy
    sentence = pack.compare(weights, packed, source, resolution=16)
    assert f"{accuracy:.4f} in packed.npz" in sentence
    assert 0 < float(sentence.split("logits ")[1].split()[0]) < 5e-3
