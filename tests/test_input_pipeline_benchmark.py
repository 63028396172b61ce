"""The contenders and images of the benchmark of the input pipeline."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import input_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    sizes = input_pipeline.write_images(folder, 4)
    assert all(50_000 < size < 100_000 for size in sizes)
    return folder


def test_images_are_photographs_in_size_and_differ():
    first, again, other = (input_pipeline.photo(seed) for seed in (3, 3, 4))
    assert tf.io.extract_jpeg_shape(first).numpy().tolist() == [375, 500, 3]
    assert first == again != other


@pytest.mark.parametrize("contender", [name for name in input_pipeline.CONTENDERS if name != input_pipeline.DECODER])
def test_contenders_read_batches(folder, contender):
    read_batches = input_pipeline.work(contender, folder, batch_size=2, batches=3)
    assert [read_batches() for _ in range(2)] == [6, 6]


def test_decoder_reads_images(folder):
    read_batches = input_pipeline.work(input_pipeline.DECODER, folder, batch_size=2, batches=3, cores=2)
    assert [read_batches() for _ in range(2)] == [6, 6]


def test_tf_image_evaluates_as_the_library_does(folder):
    from bit_keras import data

    ((images, labels),) = input_pipeline.tf_image_batches(folder, 4, train=False)
    ((ours, our_labels),) = data.test_batches(data.load(str(folder)), batch_size=4, crop=480)
    np.testing.assert_allclose(images, ours, atol=2e-6)
    np.testing.assert_array_equal(labels, our_labels)
