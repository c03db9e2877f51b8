"""MLflow: the only writer of runs and studies. Free of Ray and of frameworks."""

import os

# MLflow tells its makers what it is used for, unless it is told not to before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A server that stops answering makes each of MLflow's calls wait for some four minutes; what can't
# be sent is kept (distlab/tracking/sending/outbox.py), so that 10 s, twice, are enough.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
# It prints the address of each run that ends, with the password that may be in it.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
