from distlab.outcome.evaluations.points import Point, of_run, to_target, told


def point(step: int, seconds: float, accuracy: float) -> Point:
    return Point(step, seconds, accuracy, 1.0, 10)


EPOCHS = [
    [point(10, 1.0, 0.1), point(20, 2.0, 0.5), point(31, 3.0, 0.4)],
    [point(10, 1.5, 0.9)],
]


def test_points_of_later_epochs_go_on_where_those_before_end() -> None:
    found = of_run(EPOCHS)
    assert [(one.step, one.seconds) for one in found] == [(10, 1), (20, 2), (31, 3), (41, 4.5)]


def test_a_target_is_reached_at_the_first_point_and_known_to_the_one_before() -> None:
    found = of_run(EPOCHS)
    assert to_target(found, 0.1) == (1.0, 1.0)
    assert to_target(found, 0.45) == (2.0, 1.0)
    assert to_target(found, 0.6) == (4.5, 1.5)
    assert to_target(found, 0.95) == (None, None)


def test_of_noise_no_accuracy_is_told() -> None:
    assert [one["test_accuracy"] for one in told(EPOCHS[0], learnable=False)] == [None] * 3
    assert told(EPOCHS[0], learnable=True)[1]["test_accuracy"] == 0.5
