"""Paddle, imported with the environment that it needs and without its noise.

The other modules of this backend take ``paddle`` from here.
"""

import contextlib
import io
import os
import warnings

from distlab.backends.common.malloc import keep_freed_memory
from distlab.backends.paddle.mkl import resolve_mkl_cpu_type

# Paddle reads these when it is imported. The config's `env:` comes first.
os.environ.setdefault("GLOG_minloglevel", "2")  # errors only; init_parallel_env logs its sockets
resolve_mkl_cpu_type()
keep_freed_memory()

# At import Paddle warns that ccache is missing (it builds no extension here) and writes to stderr
# that OMP_NUM_THREADS is not 1 (which here is asked for).
with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
    warnings.filterwarnings("ignore", message="No ccache found")
    import paddle
    import paddle.distributed
    from paddle.nn import functional

# Said while `graph` traces addmm; nothing here asks a traced tensor where it is.
warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface")

__all__ = ["functional", "paddle"]
