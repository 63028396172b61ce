import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.loaders import preprocessing

IMAGE = np.random.default_rng(0).integers(0, 256, (11, 7, 3), np.uint8)


def _bilinear(image: np.ndarray, side: int) -> np.ndarray:
    """Bilinear resize with half-pixel centres and no antialiasing, one axis after the other."""
    image = image.astype(np.float64)
    for axis in (0, 1):
        size = image.shape[axis]
        places = (np.arange(side) + 0.5) * size / side - 0.5
        below = np.floor(places).astype(int)
        share = (places - below).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low, high = (image.take(np.clip(i, 0, size - 1), axis) for i in (below, below + 1))
        image = low * (1 - share) + high * share
    return image


@pytest.mark.parametrize("crop", [4, 7, 32])
def test_test_image_is_resized_and_scaled(crop):
    result = preprocessing.test_image(IMAGE, crop=crop).numpy()
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, _bilinear(IMAGE, crop) / 127.5 - 1, atol=1e-5)


def test_range_is_closed():
    ends = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)])
    assert [np.unique(preprocessing.test_image(end, crop=6)).tolist() for end in ends] == [[-1.0], [1.0]]


@pytest.mark.parametrize("encode", [tf.io.encode_png, lambda image: tf.io.encode_jpeg(image, quality=100)])
def test_encoded_images_are_decoded(encode):
    encoded = encode(IMAGE)
    expected = tf.io.decode_image(encoded, channels=3).numpy()
    result = preprocessing.test_image(encoded, crop=16)
    np.testing.assert_array_equal(result, preprocessing.test_image(expected, crop=16))
    np.testing.assert_array_equal(preprocessing.decode(encoded), expected)


def test_train_image_without_augmentation_is_the_test_image():
    result = preprocessing.train_image(IMAGE, [0, 1], resize=20, crop=16, random_crop=False, flip=False)
    np.testing.assert_array_equal(result, preprocessing.test_image(IMAGE, crop=16))


@pytest.mark.parametrize("flip", [True, False])
def test_train_image_is_a_crop_of_the_resized_image(flip):
    """Every crop is at one of the 25 offsets, mirrored or not, and all offsets are equally frequent."""
    resized = _bilinear(IMAGE, 20) / 127.5 - 1
    windows = np.lib.stride_tricks.sliding_window_view(resized, (16, 16, 3))[:, :, 0]  # [5, 5, 16, 16, 3]
    windows = np.stack([windows, windows[..., ::-1, :]])

    @tf.function
    def crops(seeds):
        return tf.map_fn(
            lambda seed: preprocessing.train_image(IMAGE, seed, resize=20, crop=16, flip=flip),
            seeds,
            fn_output_signature=tf.float32,
        )

    results = crops(tf.stack([tf.fill([2_000], tf.constant(8, tf.int64)), tf.range(2_000, dtype=tf.int64)], axis=1))
    counts = np.zeros(windows.shape[:3], int)
    for result in results.numpy():
        errors = np.abs(windows - result).max(axis=(-1, -2, -3))
        place = np.unravel_index(errors.argmin(), errors.shape)
        assert errors[place] < 1e-5
        counts[place] += 1
    mirrored, offsets = counts[1].sum(), counts.sum(axis=0)
    # Four standard deviations: sqrt(2000 * 0.5 * 0.5) and sqrt(2000 * 0.04 * 0.96).
    assert abs(mirrored - 1_000) < 90 if flip else mirrored == 0
    assert np.abs(offsets - 80).max() < 36
    if flip:
        assert counts.min() > 0  # the flip is independent of the offset


def test_train_image_is_a_pure_function_of_its_seed():
    first, again, other = (
        preprocessing.train_image(IMAGE, seed, resize=64, crop=32).numpy() for seed in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def _by_tf_image(image, seed, resize, crop, random_crop=True, flip=True):
    """The same draws, with each step computed separately by tf.image."""
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    if image.dtype == tf.string:
        image = tf.io.decode_image(image, channels=3, expand_animations=False)
    side = resize if random_crop else crop
    image = tf.image.resize(tf.cast(image, tf.float32), (side, side))
    if random_crop:
        image = tf.image.stateless_random_crop(image, (crop, crop, 3), crop_seed)
    if flip:
        image = tf.image.stateless_random_flip_left_right(image, flip_seed)
    return (image - 127.5) / 127.5


def _noise(height, width, channels=3):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)


# From one pixel to more than 2 per pixel of the result, where the conversion follows the resize.
SIZES = [
    (1, 1),
    (1, 9),
    (13, 1),
    (8, 8),
    (11, 7),
    (2, 300),
    (300, 2),
    (31, 33),
    (34, 35),
    (35, 35),
    (97, 64),
    (375, 500),
]


@pytest.mark.parametrize("switches", [{}, {"flip": False}, {"random_crop": False}])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_train_image_is_that_of_tf_image(height, width, switches):
    image = tf.constant(_noise(height, width))
    for step in range(4):
        seed = tf.constant([7, step], tf.int64)
        result = preprocessing.train_image(image, seed, resize=20, crop=16, **switches)
        np.testing.assert_allclose(result, _by_tf_image(image, seed, 20, 16, **switches), atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (333, 511), (1200, 1600)])
def test_train_image_at_the_size_of_large_images(height, width):
    encoded = tf.io.encode_jpeg(_noise(height, width))
    for step in range(2):
        seed = tf.constant([7, step], tf.int64)
        result = preprocessing.train_image(encoded, seed, resize=512, crop=480)
        np.testing.assert_allclose(result, _by_tf_image(encoded, seed, 512, 480), atol=2e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encode", [tf.io.encode_png, tf.io.encode_jpeg])
def test_train_image_of_encoded_images_in_a_graph(encode, channels):
    encoded = encode(_noise(19, 23, channels))
    graph = tf.function(lambda image, seed: preprocessing.train_image(image, seed, resize=20, crop=16))
    for step in range(4):
        seed = tf.constant([7, step], tf.int64)
        np.testing.assert_allclose(graph(encoded, seed), _by_tf_image(encoded, seed, 20, 16), atol=2e-6)


def test_crops_at_the_border():
    """A crop one pixel smaller than the image is in one of four corners; one of equal size is the image."""
    image = tf.constant(_noise(9, 14))
    corners = set()
    for step in range(24):
        seed = tf.constant([1, step], tf.int64)
        result = preprocessing.train_image(image, seed, resize=12, crop=11, flip=False)
        expected = _by_tf_image(image, seed, 12, 11, flip=False)
        np.testing.assert_allclose(result, expected, atol=2e-6)
        corners.add(expected.numpy().tobytes())
    assert len(corners) == 4
    whole = preprocessing.train_image(image, seed, resize=12, crop=12, flip=False)
    np.testing.assert_array_equal(whole, preprocessing.test_image(image, crop=12))
