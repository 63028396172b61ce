"""From bit_tf2/train.py of google-research/big_transfer: the whole program, and its components in your own `fit`."""

import keras

import bit_keras
from bit_keras import data


def program(weights: str, source: str | data.Source, workdir: str, **settings):
    """Does what `python -m bit_keras.finetune --model=... --dataset=... --workdir=...` does; settings are its flags."""
    result = bit_keras.finetune(model=weights, dataset=source, workdir=workdir, **settings)
    return result.model, result.test_accuracy


def pieces(weights: str, source: data.Source, batch_size: int = 512, **changes) -> keras.Model:
    """Schedule, resolution and MixUp come from the rule; the batches are in [-1, 1], as `BiT` requires."""
    rule = bit_keras.HyperRule(source.num_train, source.image_size, batch_size, **changes)
    model = bit_keras.BiT.from_preset(weights, num_classes=source.num_classes)  # with a new, zero-initialized head
    model.compile(rule.optimizer(), keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    steps_per_epoch = max(1, rule.total_steps // 10)
    model.fit(
        data.train_batches(source, batch_size=batch_size, resize=rule.resize, crop=rule.crop, seed=0),
        steps_per_epoch=steps_per_epoch,
        epochs=-(-rule.total_steps // steps_per_epoch),
        validation_data=data.test_batches(source, batch_size=batch_size, crop=rule.crop),
        callbacks=rule.callbacks(),
        shuffle=False,  # the batches are already shuffled
        verbose=0,
    )
    return model
