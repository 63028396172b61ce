import itertools
import json

import keras
import numpy as np
import pytest

from bit_keras import data
from bit_keras.data.loaders import streams
from bit_keras.data.source import median_size


def test_counts_and_names(any_source):
    assert any_source.num_classes == len(any_source.class_names) == 3
    assert any_source.num_train in (9, 40)
    assert any_source.num_test == 11
    assert any_source.image_size == (6, 9)


def test_test_examples_come_once_and_in_one_order(any_source, numbers_of):
    numbers = numbers_of(streams.in_order(any_source.test))
    assert sorted(numbers) == list(range(100, 111))
    assert numbers == numbers_of(streams.in_order(any_source.test))


def test_every_pass_has_every_training_example_once_in_another_order(any_source, numbers_of):
    n = any_source.num_train
    passes = np.reshape(numbers_of(streams.shuffled(any_source.train, seed=1).take(5 * n)), (5, n))
    expected = sorted(numbers_of(streams.in_order(any_source.train)))
    assert len(set(expected)) == n
    for one_pass in passes:
        assert sorted(one_pass) == expected
    for first, second in itertools.combinations(passes.tolist(), 2):
        assert first != second


def test_stream_is_a_pure_function_of_seed_and_start(any_source, numbers_of):
    stream = numbers_of(streams.shuffled(any_source.train, seed=1).take(100))
    keras.utils.set_random_seed(99)  # the global seed must have no effect
    dataset = streams.shuffled(any_source.train, seed=1).take(100)
    assert numbers_of(dataset) == stream
    assert numbers_of(dataset) == stream
    for start in (1, 40, 95):  # in, at and after the ends of passes
        assert numbers_of(streams.shuffled(any_source.train, 1, start).take(100 - start)) == stream[start:]
    assert numbers_of(streams.shuffled(any_source.train, seed=2).take(100)) != stream


def test_few_shot_takes_that_many_of_each_class(any_source, numbers_of):
    few = any_source.few_shot(2, seed=5)
    numbers = numbers_of(streams.in_order(few.train))
    assert len(set(numbers)) == few.num_train == 6
    assert sorted(n % 3 for n in numbers) == [0, 0, 1, 1, 2, 2]
    assert sorted(numbers_of(streams.shuffled(few.train, seed=0).take(6))) == sorted(numbers)
    assert numbers_of(streams.in_order(few.test)) == numbers_of(streams.in_order(any_source.test))
    assert numbers_of(streams.in_order(any_source.few_shot(2, seed=5).train)) == numbers
    others = {tuple(numbers_of(streams.in_order(any_source.few_shot(2, seed).train))) for seed in range(3)}
    assert len(others) > 1
    assert (few.name, few.class_names, few.image_size) == (any_source.name, any_source.class_names, (6, 9))


def test_description_is_json_and_tells_few_shot_draws_apart(any_source):
    few = any_source.few_shot(2, seed=5)
    descriptions = [
        source.describe() for source in (any_source, few, any_source.few_shot(2, seed=6), few.few_shot(1, seed=5))
    ]
    for first, second in itertools.combinations(descriptions, 2):
        assert first != second
    assert few.describe() == any_source.few_shot(2, seed=5).describe()
    assert json.loads(json.dumps(descriptions)) == descriptions
    assert descriptions[1]["few_shot"][-1] == {"examples_per_class": 2, "seed": 5}
    official = any_source.few_shot(2, seed=5, draw="official").describe()["few_shot"][-1]
    assert official == {"examples_per_class": 2, "seed": 5, "draw": "official"}
    assert descriptions[1]["num_train"] == 6
    assert set(descriptions[0]) >= {"kind", "name", "num_train", "num_test", "num_classes", "fingerprint"}


def test_few_shot_error_names_the_class_and_its_count(array_source):
    with pytest.raises(data.DataError, match=r"for 14 examples of each class .*, but '1' has 13, '2' has 13$"):
        array_source.few_shot(14, seed=0)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_share_out_of_range(array_source, share):
    message = r"validation must lie in \[0, 1\), as a share of the training images, got|share must be a finite number"
    with pytest.raises(ValueError, match=message):
        array_source.hold_out(share)


def test_a_held_out_share_of_any_source(any_source, numbers_of):
    source = any_source.hold_out(0.4, seed=3)
    train, validation = (numbers_of(streams.in_order(split)) for split in (source.train, source.validation))
    assert sorted([*train, *validation]) == sorted(numbers_of(streams.in_order(any_source.train)))
    assert len(validation) == 3 if len(train) == 6 else 15
    assert source.describe_splits() == f"{len(train)} training, {len(validation)} validation and 11 test examples"
    assert source.describe()["held_out"] == {"share": 0.4, "seed": 3}
    assert source.without_validation().describe() != any_source.describe()
    with pytest.raises(data.DataError, match="has a validation split of"):
        source.hold_out(0.1)


def test_the_split_that_is_tested_on(array_source):
    source = array_source.hold_out(0.2)
    assert source.tested_on("train").test is source.train
    assert source.tested_on("validation").test is source.validation
    message = "arrays has no validation split, only 40 training and 11 test examples"
    with pytest.raises(data.DataError, match=message):
        array_source.tested_on("validation")


def test_median_size_takes_height_and_width_by_themselves():
    assert median_size([(10, 300), (20, 100), (90, 200)]) == (20, 200)
