"""The rule compared with the official `bit_hyperrule.py`, at every step."""

import dataclasses

import pytest

from bit_keras import HyperRule
from bit_keras.rules.schedules import Schedule

# Examples -> supports of the official schedule.
SUPPORTS = {
    19_999: [100, 200, 300, 400, 500],
    20_000: [500, 3000, 6000, 9000, 10_000],
    499_999: [500, 3000, 6000, 9000, 10_000],
    500_000: [500, 6000, 12_000, 18_000, 20_000],
}


def _official_rate(supports: list[int], step: int, base: float) -> float | None:
    if step < supports[0]:
        return base * step / supports[0]
    if step >= supports[-1]:
        return None
    passed = sum(support < step for support in supports[1:])
    return base / 10**passed


@pytest.mark.parametrize("num_examples", SUPPORTS)
def test_learning_rate_equals_the_official_one_at_every_step(num_examples):
    rule = HyperRule(num_examples, image_size=(32, 32))
    supports = SUPPORTS[num_examples]
    assert rule.total_steps == supports[-1]
    for step in range(supports[-1]):
        assert rule.learning_rate(step) == pytest.approx(_official_rate(supports, step, 0.003), rel=1e-12), step
    assert rule.learning_rate(supports[-1]) is None
    assert rule.learning_rate(supports[-1] + 1) is None


@pytest.mark.parametrize("num_examples", SUPPORTS)
def test_a_drop_starts_at_the_step_after_its_boundary(num_examples):
    rule = HyperRule(num_examples, image_size=(32, 32), base_lr=1.0)
    warmup, *drops, total = SUPPORTS[num_examples]
    assert rule.learning_rate(0) == 0
    assert rule.learning_rate(warmup - 1) == pytest.approx(1 - 1 / warmup)
    assert rule.learning_rate(warmup) == rule.learning_rate(warmup + 1) == 1
    for level, drop in enumerate(drops):
        assert rule.learning_rate(drop - 1) == pytest.approx(10**-level)
        assert rule.learning_rate(drop) == pytest.approx(10**-level)
        assert rule.learning_rate(drop + 1) == pytest.approx(10 ** -(level + 1))
    assert rule.learning_rate(total - 1) == pytest.approx(1e-3)


@pytest.mark.parametrize(("num_examples", "alpha"), [(1, 0), (19_999, 0), (20_000, 0.1), (500_000, 0.1)])
def test_mixup_from_20_000_examples_on(num_examples, alpha):
    assert HyperRule(num_examples, (32, 32)).mixup_alpha == alpha


@pytest.mark.parametrize(
    ("image_size", "sizes"),
    [
        ((95, 96), (160, 128)),
        ((96, 95), (160, 128)),
        ((96, 96), (512, 480)),
        ((1, 9215), (160, 128)),
        ((1, 9216), (512, 480)),
        ((32, 32), (160, 128)),
        ((500, 375), (512, 480)),
    ],
)
def test_resolution_by_area(image_size, sizes):
    rule = HyperRule(1000, image_size)
    assert (rule.resize, rule.crop) == sizes


@pytest.mark.parametrize(
    ("image_size", "resolution", "resize"), [((32, 32), 64, 80), ((500, 500), 384, 410), ((500, 500), 480, 512)]
)
def test_resize_scales_with_another_resolution(image_size, resolution, resize):
    rule = HyperRule(1000, image_size, resolution=resolution)
    assert (rule.resize, rule.crop) == (resize, resolution)


@pytest.mark.parametrize("num_examples", SUPPORTS)
@pytest.mark.parametrize("factor", [0.1, 0.5, 3])
def test_all_boundaries_scale_with_the_steps(num_examples, factor):
    warmup, *drops, total = (round(support * factor) for support in SUPPORTS[num_examples])
    schedule = HyperRule(num_examples, (32, 32), steps=total).schedule
    assert (schedule.warmup_steps, schedule.drop_steps, schedule.total_steps) == (warmup, tuple(drops), total)


def test_few_steps():
    assert HyperRule(100, (32, 32), steps=5).schedule == Schedule(0.003, 1, (2, 3, 4), 5)
    for num_examples in SUPPORTS:
        for steps in range(5, 40):
            assert HyperRule(num_examples, (32, 32), steps=steps).total_steps == steps
        for steps in range(1, 5):
            with pytest.raises(ValueError, match=f"steps must be 5 or more, .* got {steps}"):
                HyperRule(num_examples, (32, 32), steps=steps)


def test_an_unknown_argument_is_answered_with_the_one_that_is_meant():
    with pytest.raises(TypeError, match=r"HyperRule\(\) has no argument 'lr'; did you mean base_lr\?"):
        HyperRule(100, (32, 32), lr=0.1)


def test_example_of_the_docstring():
    rule = HyperRule(num_examples=50_000, image_size=(32, 32))
    values = (rule.total_steps, rule.resize, rule.crop, rule.mixup_alpha, rule.learning_rate(250))
    assert values == (10_000, 160, 128, 0.1, 0.0015)
    assert (rule.batch_size, rule.base_lr, rule.momentum) == (512, 0.003, 0.9)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_examples", 0),
        ("num_examples", float("nan")),
        ("num_examples", None),
        ("batch_size", True),
        ("steps", 12.5),
        ("resolution", (32, 48)),
        ("base_lr", float("inf")),
        ("batch_size", 0),
        ("steps", 0),
        ("resolution", 0),
        ("base_lr", 0),
        ("base_lr", -0.1),
        ("base_lr", float("nan")),
        ("momentum", 1),
        ("momentum", -0.1),
        ("image_size", (32,)),
        ("image_size", (32, 32, 3)),
        ("image_size", (0, 32)),
    ],
)
def test_refused_arguments_are_named(argument, value):
    arguments = {"num_examples": 1000, "image_size": (32, 32), argument: value}
    with pytest.raises(ValueError, match=f"^{argument} must .*got"):
        HyperRule(**arguments)


def test_negative_step():
    with pytest.raises(ValueError, match="step must be 0 or more, got -1"):
        HyperRule(1000, (32, 32)).learning_rate(-1)


@pytest.mark.parametrize("steps", [(0, (5,), 9), (5, (5,), 9), (5, (8, 7), 9), (5, (9,), 9), (5, (), 5)])
def test_a_schedule_must_ascend(steps):
    with pytest.raises(ValueError, match="must be ascending"):
        Schedule(0.1, *steps)


def test_a_schedule_may_have_any_number_of_drops():
    assert Schedule(0.1, 2, (), 5).learning_rate(4) == 0.1


def test_the_records_are_frozen():
    rule = HyperRule(1000, (32, 32))
    for record, field in ((rule, "steps"), (rule.schedule, "base_lr")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field, 1)
    assert rule == HyperRule(1000, (32, 32))
    assert hash(rule) == hash(HyperRule(1000, (32, 32)))


# {field: (another value, the properties that must change with it)}.
CHANGES = {
    "num_examples": (30_000, "total_steps"),
    "image_size": ((200, 200), "crop"),
    "base_lr": (0.1, "schedule"),
    "steps": (50, "total_steps"),
    "resolution": (96, "crop"),
    # Used by the data and the optimizer only.
    "batch_size": (8, "batch_size"),
    "momentum": (0.5, "momentum"),
}


def test_every_field_changes_something():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(HyperRule)}
    rule = HyperRule(1000, (32, 32))
    for field, (value, changed) in CHANGES.items():
        assert getattr(dataclasses.replace(rule, **{field: value}), changed) != getattr(rule, changed)


def test_scales_for_other_batches():
    rule = HyperRule(50_000, (32, 32), batch_size=128)
    assert rule.scaled("none") == rule
    assert rule.scaled("linear").base_lr == pytest.approx(0.003 / 4)
    assert rule.scaled("linear").total_steps == 10_000
    longer = rule.scaled("schedule")
    assert (longer.total_steps, longer.base_lr) == (40_000, 0.003)
    assert longer.schedule.drop_steps == (12_000, 24_000, 36_000)
    paper = HyperRule(50_000, (32, 32))
    assert all(paper.scaled(how).schedule == paper.schedule for how in ("none", "linear", "schedule"))
    with pytest.raises(ValueError, match="how must be one of none, linear, schedule, got 'sqrt'"):
        rule.scaled("sqrt")
