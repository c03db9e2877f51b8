"""LeNet-5 on MNIST by DistributedDataParallel, in the style of PyTorch's own tutorials.

torchrun --nproc_per_node=2 train.py mnist.npz
"""

import sys

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


class LeNet5(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )

    def forward(self, x):
        return self.layers(x)


def dataset(images, labels):
    images = torch.from_numpy(images.astype(np.float32) / 255).unsqueeze(1)
    return TensorDataset(images, torch.from_numpy(labels.astype(np.int64)))


dist.init_process_group("gloo")
mnist = np.load(sys.argv[1])
train_set = dataset(mnist["x_train"], mnist["y_train"])
test_set = dataset(mnist["x_test"], mnist["y_test"])
sampler = DistributedSampler(train_set, drop_last=True)
train_loader = DataLoader(train_set, batch_size=64, sampler=sampler, drop_last=True)
test_loader = DataLoader(test_set, batch_size=100)

model = DDP(LeNet5())
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for epoch in range(3):
    sampler.set_epoch(epoch)
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()

    model.eval()
    correct = 0
    with torch.no_grad():
        for x, y in test_loader:
            correct += (model.module(x).argmax(1) == y).sum().item()
    if dist.get_rank() == 0:
        print(f"epoch {epoch + 1}: test accuracy {correct / len(test_set):.4f}")

dist.destroy_process_group()
