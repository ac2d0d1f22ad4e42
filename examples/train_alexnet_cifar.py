"""Train AlexNet's plan on CIFAR-10: python examples/train_alexnet_cifar.py

The photographs are found by themselves (see minicnn/data/cifar.py); without a network connection a small sample that is
part of the package is taken. On two cores it is under three minutes with all 50,000 images, twenty seconds with
the sample. Stop it with Ctrl-C, go on with --resume; --help lists the options.

All settings are the table at the top of minicnn/training/job.py, the loop is minicnn/training/trainer.py, and
examples/train_by_hand.py is the same loop with nothing around it. The network of 2012 has no batch normalisation:
`minicnn train` takes 14 epochs to train it so.
"""

from minicnn.cli import run_example
from minicnn.training import Job

if __name__ == "__main__":
    run_example(
        Job(
            model="alexnet_cifar",
            options={"batch_norm": True, "dropout": 0.0},  # what lets seven epochs do the work of fourteen
            epochs=7,
            lr=0.12,
            warmup=0.25,
            crop_padding=2,
            precision="medium",
            out="runs/alexnet_cifar",
        )
    )
