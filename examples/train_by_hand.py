"""The training loop with nothing around it: a small network on the embedded sample of CIFAR-10.

python examples/train_by_hand.py [--steps N]
"""

import argparse

import minicnn
from minicnn import Tensor, data, layers, ops, optim

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=300)
steps = parser.parse_args().steps

minicnn.manual_seed(0)
train, test = data.cifar10_sample(train=True), data.cifar10_sample(train=False)
normalize = data.Normalize(*train.statistics())
augment = data.Compose([data.RandomCrop(32, padding=4), data.RandomHorizontalFlip(), normalize])
batches = data.Loader(train, 64, augment)

model = layers.Sequential(
    layers.Conv2d(3, 32, 5, padding=2), layers.ReLU(), layers.MaxPool2d(3, 2, padding=1),  # 32x16x16
    layers.Conv2d(32, 64, 3, padding=1), layers.ReLU(), layers.MaxPool2d(3, 2, padding=1),  # 64x8x8
    layers.Flatten(), layers.Linear(64 * 8 * 8, 128), layers.ReLU(), layers.Dropout(0.3), layers.Linear(128, 10),
)  # fmt: skip
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
schedule = optim.Scheduler(optimizer, optim.OneCycle(max(steps, 1)))

step = 0
while step < steps:
    for images, labels in batches:  # each pass is an epoch in a new order
        loss = ops.cross_entropy(model(Tensor(images)), labels)  # forward
        optimizer.zero_grad()
        loss.backward()  # the gradient of every parameter
        optimizer.step()
        schedule.step()
        step += 1
        if step % 25 == 0:
            print(f"step {step}  loss {loss.item():.3f}")
        if step == steps:
            break

model.eval()
right = 0
with minicnn.no_grad():
    for images, labels in data.Loader(test, 100, normalize, shuffle=False):
        right += int((model(Tensor(images)).numpy().argmax(1) == labels).sum())
print(f"test accuracy {right / len(test):.1%} on {len(test)} images")
