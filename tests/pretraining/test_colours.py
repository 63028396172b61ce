"""Random foreground and background colours."""

import numpy as np

from pretraining.colours import coloured


def test_half_stay_white_on_black_and_half_lie_between_two_colours_that_differ():
    grey = np.tile(np.array([0, 51, 255], np.uint8), (500, 1))[:, None]  # [N, 1, 3]
    images = coloured(grey, np.random.default_rng(0)).astype(float)[:, 0]  # [N, 3 pixels, RGB]
    paper, fifth, ink = images[:, 0], images[:, 1], images[:, 2]
    plain = (paper == 0).all(axis=-1) & (ink == 255).all(axis=-1)
    assert 0.45 < plain.mean() < 0.65
    np.testing.assert_allclose(fifth, paper + (ink - paper) / 5, atol=0.5)
    assert np.linalg.norm(ink - paper, axis=-1).min() >= 100
    assert len({tuple(colour) for colour in ink[~plain]}) > 150
