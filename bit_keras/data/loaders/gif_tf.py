"""The first frame of a GIF file, cut out in TensorFlow operations that TF Serving has as well.

TensorFlow's decoder reads all frames into memory, each of a size of its own.
"""

from bit_keras.data.loaders.bytes_tf import numbers, substr
from bit_keras.data.tensorflow_for_data import tf

_SCREEN, _BLOCKS = 6, 13  # positions of the size of the screen, and of what follows its header
_EXTENSION, _END = 0x21, b";"
# Most extensions before the frame, runs of blocks of one length in an extension and in the frame, and bytes of a run.
_EXTENSIONS, _RUNS_OF_EXTENSION, _RUNS_OF_FRAME, _WINDOW = 32, 2**9, 2**12, 2**15


def first_frame(gif: tf.Tensor) -> tf.Tensor:
    """Returns a GIF file of the first frame alone; "" if that does not fill the screen and pixels would be missing.

    Args:
        gif: scalar string, a GIF file; one that is damaged gives another damaged one, or "".
    """

    def byte(at: tf.Tensor) -> tf.Tensor:
        return numbers(gif, at, tf.uint8)[0]

    def after_palette(at: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
        return at + tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)

    def after_run(at: tf.Tensor) -> tf.Tensor:
        """Returns the position after the blocks of one length at a position: a file has up to 100,000 of them."""
        length = byte(at)
        lengths = tf.io.decode_raw(substr(gif, at, _WINDOW), tf.uint8)[:: 1 + length]
        others = tf.concat([tf.where(lengths != lengths[0])[:, 0], [tf.size(lengths, tf.int64)]], 0)
        return at + others[0] * (1 + length)

    def after_blocks(at: tf.Tensor, most_runs: int) -> tf.Tensor:
        """Returns the position after blocks, each of which begins with its length; the last one has length 0."""
        (last,) = tf.while_loop(
            lambda at: byte(at) > 0, lambda at: (after_run(at),), (at,), maximum_iterations=most_runs
        )
        return last + 1

    start = after_palette(tf.constant(_BLOCKS, tf.int64), byte(_SCREEN + 4))
    (frame,) = tf.while_loop(
        lambda at: byte(at) == _EXTENSION,
        lambda at: (after_blocks(at + 2, _RUNS_OF_EXTENSION),),  # after the mark of the extension and its kind
        (start,),
        maximum_iterations=_EXTENSIONS,
    )
    # Of a frame: a mark, its left, top, width and height in 2 bytes each, flags, its palette, a size, its blocks.
    end = after_blocks(after_palette(frame + 10, byte(frame + 9)) + 1, _RUNS_OF_FRAME)
    is_full = substr(gif, frame + 1, 8) == tf.strings.join([b"\0\0\0\0", substr(gif, _SCREEN, 4)])
    return tf.where(is_full, tf.strings.join([substr(gif, 0, end), _END]), b"")
