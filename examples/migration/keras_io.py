"""From "Image classification using BigTransfer (BiT)" of keras.io: its tf.data pipeline and module, in Keras 3."""

import keras
import tensorflow as tf

import bit_keras


def fine_tune(
    handle: str,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    num_classes: int,
    batch_size: int = 64,
    resolution: int = 224,
    steps: int | None = None,
) -> keras.Model:
    """Both data sets contain (image [H, W, 3] in [0, 255], label); the handle is that of a feature vector module."""
    rule = bit_keras.HyperRule(
        num_examples=int(train.cardinality()),
        image_size=(500, 500),  # approximate size of the photographs
        batch_size=batch_size,
        base_lr=0.003 * batch_size / 512,
        steps=steps,  # warm-up and drops scale with it
        resolution=resolution,
    )

    def prepare_train(image, label):
        image = tf.image.resize(image, (rule.resize, rule.resize)) / 255  # modules take [0, 1]
        image = tf.image.random_crop(image, (rule.crop, rule.crop, 3))
        return tf.image.random_flip_left_right(image), tf.one_hot(label, num_classes)

    def prepare_validation(image, label):
        return tf.image.resize(image, (rule.crop, rule.crop)) / 255, tf.one_hot(label, num_classes)

    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            bit_keras.SavedModelLayer(handle),  # trainable by default, unlike hub.KerasLayer
            keras.layers.Dense(num_classes, kernel_initializer="zeros"),
        ]
    )
    model.compile(rule.optimizer(), keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    steps_per_epoch = max(1, rule.total_steps // 10)
    model.fit(
        train.repeat().shuffle(1000).map(prepare_train).batch(batch_size).prefetch(1),
        steps_per_epoch=steps_per_epoch,
        epochs=-(-rule.total_steps // steps_per_epoch),
        validation_data=validation.map(prepare_validation).batch(batch_size),
        callbacks=rule.callbacks(),  # warm-up, drops, end of training, MixUp for 20,000 images and more
        shuffle=False,  # the data set is already shuffled
        verbose=0,
    )
    return model
