"""What is sent to MLflow: the calls, the file that keeps them, the thread that sends them."""
