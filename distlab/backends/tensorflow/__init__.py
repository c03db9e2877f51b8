"""TensorFlow: MultiWorkerMirroredStrategy, one process a device."""
