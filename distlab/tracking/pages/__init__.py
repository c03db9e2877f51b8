"""What people see of runs and studies in the UI of MLflow: columns, charts, descriptions."""
