"""MLflow: the only writer of runs and studies. Free of Ray and of frameworks."""

import os

# MLflow tells its makers what it is used for, unless it is told not to before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
