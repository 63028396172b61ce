"""The learning rate schedule of BiT's upstream pre-training (arXiv 1912.11370, section 3.2), for any length."""

from bit_keras.hyperrule import Schedule


def upstream_schedule(total_steps: int, batch_size: int) -> Schedule:
    """The schedule of BiT-S and BiT-M: warm-up, then drops by 10 at 30, 60 and 80 of 90 epochs.

    Args:
        total_steps: updates of the whole training, at least 5.
        batch_size: images per update; the learning rate is 0.03 * batch_size / 256.

    Returns:
        The schedule. The paper warms up for 5000 steps whatever the length; this one for 1/22 of the training.
    """
    drops = tuple(round(total_steps * epoch / 90) for epoch in (30, 60, 80))
    return Schedule(0.03 * batch_size / 256, max(1, round(total_steps / 22)), drops, total_steps)
