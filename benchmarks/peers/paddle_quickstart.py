"""Paddle in the style of its guides: nn.Sequential, DataLoader, one loop (one process)."""

import numpy as np
import paddle
from mnist import training_set
from paddle import nn
from record import Record, options


class Images(paddle.io.Dataset):
    """A data set of one's own, as the guide to data loading writes it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        super().__init__()
        self.images, self.labels = images, labels

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One image ``[1, 28, 28]`` and its label."""
        return self.images[index], self.labels[index]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


def network(model: str) -> nn.Layer:
    """The MLP or LeNet-5."""
    if model == "mlp":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 100),
            nn.ReLU(),
            nn.Linear(100, 100),
            nn.ReLU(),
            nn.Linear(100, 10),
        )
    return nn.Sequential(
        nn.Conv2D(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def main() -> None:
    """Train and print the record."""
    arguments, record = options(), Record()
    paddle.seed(0)
    paddle.set_device(arguments.device)
    images, labels = training_set(arguments.data)
    dataset = Images(images[:, np.newaxis], labels)
    loader = paddle.io.DataLoader(dataset, batch_size=arguments.batch, shuffle=True, drop_last=True)
    model = network(arguments.model)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = paddle.optimizer.Adam(learning_rate=1e-3, parameters=model.parameters())
    loss = paddle.to_tensor(0.0)
    for _ in range(arguments.epochs):
        record.begin_epoch()
        model.train()
        for x, y in loader():
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            record.first_step_done()
        if arguments.device == "gpu":
            paddle.device.synchronize()
        record.end_epoch(len(loader))
    checksum = sum(float(p.astype("float64").sum()) for p in model.parameters())
    record.write(float(loss), 1, checksum)


if __name__ == "__main__":
    main()
