"""The two losses of a RetinaNet, from logits and deltas, summed over anchors and divided by the matched anchors.

Source: arXiv 1708.02002, section 3 (focal loss, alpha 0.25 and gamma 2); tensorflow/tpu, models/official/retinanet,
`retinanet_model.py` (Huber loss, its weight, the division).
"""

from keras import ops

from bit_keras.detection.network.matching import IGNORED, Targets
from bit_keras.distribution import sum_over_devices

ALPHA, GAMMA = 0.25, 2.0
HUBER_DELTA, BOX_WEIGHT = 0.1, 50.0


def focal_loss(logits, is_class, alpha: float = ALPHA, gamma: float = GAMMA):
    """Returns the focal loss of sigmoid outputs, element by element.

    With p the probability of what is not the case, p = sigmoid(z) where z is the logit of a wrong class and minus that
    of a right one, it is weight * p^gamma * -log(1 - p); weight is alpha for a right class, 1 - alpha for a wrong one.
    Computed from z, without a probability that could round to 0 or 1.

    Args:
        logits: of any shape.
        is_class: bool, of that shape: whether the element is the class.
        alpha: weight of right classes, in [0, 1].
        gamma: 0 or more; how much less what is sure counts.
    """
    z = ops.where(is_class, -logits, logits)
    weight = ops.where(is_class, alpha, 1 - alpha)
    return ops.cast(weight, z.dtype) * ops.exp(-gamma * ops.softplus(-z)) * ops.softplus(z)


def huber_loss(errors, delta: float = HUBER_DELTA):
    """Returns e^2 / 2 where |e| <= delta, else delta * |e| - delta^2 / 2, element by element."""
    size = ops.abs(errors)
    inner = ops.minimum(size, delta)
    return inner * (size - inner / 2)


def detection_losses(outputs: dict, targets: Targets) -> tuple:
    """Returns (class loss, box loss, matched anchors) of a batch, scalars.

    Both losses are sums over the batch, divided by its number of matched anchors plus 1. So images and batches without
    boxes teach what is background. The box loss is the mean over the four deltas, times BOX_WEIGHT. On several devices
    of tf.distribute the number is that of all of them, and the losses are the shares of this device.

    Args:
        outputs: {"class": logits [N, A, K], "box": deltas [N, A, 4]}.
        targets: of the batch.
    """
    logits, deltas = (ops.cast(outputs[name], "float32") for name in ("class", "box"))
    classes = targets.classes[..., None]  # [N, A, 1]
    is_class = classes == ops.arange(logits.shape[-1], dtype="int32")  # [N, A, K]
    is_positive = classes >= 0
    count = sum_over_devices(ops.sum(ops.cast(is_positive, "float32")))
    class_sum = ops.sum(ops.where(classes != IGNORED, focal_loss(logits, is_class), 0.0))
    box_sum = ops.sum(ops.where(is_positive, huber_loss(deltas - targets.deltas), 0.0))
    return class_sum / (count + 1), BOX_WEIGHT * box_sum / (4 * (count + 1)), count
