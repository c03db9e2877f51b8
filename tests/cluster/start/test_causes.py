import pytest

from distlab.cluster.start.causes import LINES, cause, node_of

ENVIRONMENT = """Failed to set up runtime environment.
Could not create the actor because its associated runtime env failed to be created.
[Node 10.0.0.7] Traceback (most recent call last):
  File "pip.py", line 132, in __init__
    import virtualenv  # noqa: F401 ensure virtualenv exists.
    ^^^^^^^^^^^^^^^^^
ModuleNotFoundError: No module named 'virtualenv'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "pip.py", line 134, in __init__
    raise RuntimeError(
RuntimeError: Please install virtualenv `python -m pip install virtualenv`to enable pip.
"""
CREATION = """The actor died because of an error in its creation task, \
\x1b[36mray::A.__init__()\x1b[39m \
(pid=17697, ip=10.0.0.8, actor_id=9a61, repr=<A>)
           ^^^^^^^^^^^^^^
RuntimeError: The actor with name A failed to import on the worker. This may be because:

                  ^^^^^^^^^^^^^^^^^
ModuleNotFoundError: No module named 'distlab'"""
DEATH = """The actor died unexpectedly before finishing this task.
\tactor_id: 1
Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection \
error code 2. End of file. There are some potential root causes. (1) The process is killed by"""

NODE = """The actor died unexpectedly before finishing this task.
\tclass_name: RayTrainWorker
\tactor_id: 1f43
\tip: 10.77.0.2
The actor died because its node has died. Node Id: 1757c22353a1
\tthe actor's node was terminated unexpectedly: health check failed"""
MEMORY = """1 worker(s) were killed due to the node running low on memory.
Memory on the node (IP: 127.0.0.1, ID: 5ebb) was 5.36GB used / 23.54GB limit (0.227781)
OOM kill reason: Memory usage 5606461440B exceeded threshold of 505530016B (2.0% of limit)
Object store memory usage: [- objects spillable: 2
- bytes spillable: 15720468
To disable worker killing, set the environment variable `RAY_memory_monitor_refresh_ms` to zero."""


@pytest.mark.parametrize(
    ("said", "told", "node"),
    [
        (ENVIRONMENT, "RuntimeError: Please install virtualenv", "10.0.0.7"),
        (CREATION, "ModuleNotFoundError: No module named 'distlab'", "10.0.0.8"),
        (DEATH, "Worker unexpectedly exits with a connection error code 2. End of file.", None),
        (
            NODE,
            "its node has died: the actor's node was terminated unexpectedly: health check failed",
            None,
        ),
        (
            MEMORY,
            "its host ran out of memory (5.36GB of 23.54GB in use), and Ray ended it",
            "127.0.0.1",
        ),
        ("/nope is not a valid path.", "/nope is not a valid path.", None),
        ("a long reason " * 100, "a long reason " * 99 + "a long reason", None),
    ],
)
def test_the_cause_is_the_last_error_uncut_and_without_frames(
    said: str, told: str, node: str | None
) -> None:
    error = RuntimeError(said)
    assert cause(error).startswith(told)
    assert "File" not in cause(error) and "\x1b" not in cause(error) and "^" not in cause(error)
    assert node_of(error) == node


def test_a_message_of_several_lines_is_kept_up_to_a_screen() -> None:
    assert cause(ValueError("one\n\ntwo")) == "one\ntwo"
    assert cause(ValueError("\n".join("abcdefghijkl"))).splitlines() == [*"abcdefgh"[:LINES], "..."]
    assert cause(ValueError()) == "ValueError"


def test_a_lack_of_memory_is_one_line_without_rays_advice() -> None:
    told = cause(RuntimeError(MEMORY))
    assert "\n" not in told and "RAY_" not in told and "store" not in told
    assert "\n" not in cause(RuntimeError(NODE)) and "actor_id" not in cause(RuntimeError(NODE))
