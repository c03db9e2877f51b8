from distlab.cluster.train.scaling import most

CPU = {"CPU": 1.0}


def test_a_run_is_as_large_as_there_is_room_for() -> None:
    free = {"a": {"CPU": 2.0}, "b": {"CPU": 1.0, "GPU": 1.0}, "c": {}}
    assert most((1, 2, 3), CPU, free) == 3
    assert most((2, 4), CPU, free) == 2  # 3 does not divide the batch
    assert most((4, 8), CPU, free) == 4  # asked for, so that an autoscaler learns of it
    assert most((1, 2, 3), {"CPU": 1.0, "GPU": 1.0}, free) == 1


def test_a_worker_is_on_one_node() -> None:
    assert most((1, 2), {"CPU": 2.0}, {"a": {"CPU": 1.0}, "b": {"CPU": 3.0}}) == 1


def test_what_a_run_has_itself_is_room_for_it() -> None:
    free = {"a": {"CPU": 0.0}, "b": {"CPU": 2.0}}
    assert most((1, 2, 3, 4), CPU, free, own={"a": 2}) == 4
    assert most((1, 2, 3, 4), CPU, {"b": {"CPU": 0.0}}, own={"a": 2}) == 2
