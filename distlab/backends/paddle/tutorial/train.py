"""LeNet-5 on MNIST by paddle.DataParallel, in the style of Paddle's own guides.

python -m paddle.distributed.launch --nproc_per_node=2 train.py mnist.npz
"""

import sys

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import nn


class Images(paddle.io.Dataset):
    def __init__(self, images, labels):
        self.images = images[:, np.newaxis].astype(np.float32) / 255
        self.labels = labels.astype(np.int64)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]

    def __len__(self):
        return len(self.labels)


class LeNet5(nn.Layer):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
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

    def forward(self, x):
        return self.layers(x)


paddle.set_device("cpu")
dist.init_parallel_env()
mnist = np.load(sys.argv[1])
train_set = Images(mnist["x_train"], mnist["y_train"])
test_set = Images(mnist["x_test"], mnist["y_test"])
sampler = paddle.io.DistributedBatchSampler(train_set, 64, shuffle=True, drop_last=True)
train_loader = paddle.io.DataLoader(train_set, batch_sampler=sampler)
test_loader = paddle.io.DataLoader(test_set, batch_size=100)

network = LeNet5()
model = paddle.DataParallel(network)
loss_fn = nn.CrossEntropyLoss()
optimizer = paddle.optimizer.Adam(learning_rate=1e-3, parameters=model.parameters())

for epoch in range(3):
    sampler.set_epoch(epoch)
    model.train()
    for x, y in train_loader():
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()

    network.eval()
    correct = 0
    with paddle.no_grad():
        for x, y in test_loader():
            correct += int((network(x).argmax(axis=1) == y).sum())
    if dist.get_rank() == 0:
        print(f"epoch {epoch + 1}: test accuracy {correct / len(test_set):.4f}")
