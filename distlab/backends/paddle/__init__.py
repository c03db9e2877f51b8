"""Paddle: paddle.distributed, one process a device."""
