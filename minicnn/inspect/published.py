"""The error rates that the lecture decks state, each with its deck and the deck's own words.

These are results of experiments: nothing here is computed, and only the experiment can confirm them. Numbers of one
protocol may be compared with each other, others not: ten crops, several scales or several networks give lower errors
than one look at the middle of the picture. Where a deck does not say how it measured, the protocol is that of the paper
which the number comes from, and "not stated" where the paper is not certain either.
"""

from __future__ import annotations

from typing import NamedTuple

CROP, SCALE, SCALES, CROPS = "1 crop", "1 scale", "several scales", "144 crops"
UNSTATED, ENSEMBLE, PLAIN = "not stated", "several networks", "no augmentation"
SINGLE = (CROP, SCALE, "10 crops", UNSTATED)
"""Protocols that look with one network at one scale of the picture."""


class Result(NamedTuple):
    """One line of a deck. Errors are percentages; None where the deck gives none."""

    network: str
    """Its name in the zoo."""
    top1: float | None
    top5: float | None
    protocol: str
    deck: str
    """The first three characters of the deck's file name."""
    words: str
    """What the deck's text says, with single spaces."""
    note: str = ""
    """What the text recognition lost, or what stands behind the number."""


POINTS = "the text recognition lost the decimal points"

IMAGENET = [
    Result("alexnet", 42.90, None, UNSTATED, "000", "AlexNet 62,378,344 42.90"),
    Result("alexnet", 40.7, 18.2, UNSTATED, "002", "(Krizhevsky et al., 2012), 1 convnet 40.7 18.2"),
    Result("alexnet", 40.7, None, UNSTATED, "002", "AlexNet 60 Million (230 Megabytes) | 40.7% (Top 1)"),
    Result("alexnet", None, 17.0, UNSTATED, "002", "AlexNet: 17%"),
    Result("alexnet", None, 15.3, ENSEMBLE, "002", "CNN in large-scale dataset (top-5: 15.3)"),
    Result("clarifai", 38.4, 16.5, UNSTATED, "002", "1 convnet for Clarifai 38.4 16.5"),
    Result("clarifai", None, 16.0, UNSTATED, "002", "Clarifai 1 ConvNet 16.0"),
    Result("clarifai", 36.7, 15.3, ENSEMBLE, "002", "36.7 15.3 15.3", "five of them; the last number is of the test set"),
    Result("clarifai_wide", 37.5, 16.0, UNSTATED, "002", "37.5 16.0 16.1", "the last number is of the test set"),
    Result("overfeat_fast", None, 16.97, UNSTATED, "002", "Without data augmentation 16.5 16.97 14.18",
           "Overfeat-5, which the deck does not define: its numbers are those of the paper's fast network"),
    Result("overfeat_accurate", None, 14.18, UNSTATED, "002", "Without data augmentation 16.5 16.97 14.18",
           "Overfeat-7, which the deck does not define: its numbers are those of the paper's accurate network"),
    Result("overfeat_fast", None, 13.52, UNSTATED, "002", "With data augmentation 1476 13.52 11.97", "with augmentation"),
    Result("overfeat_accurate", None, 11.97, UNSTATED, "002", "With data augmentation 1476 13.52 11.97",
           "with augmentation"),
    Result("cnn_f", None, 16.7, UNSTATED, "002", "CNN-F: 16.7%"),
    Result("cnn_m", None, 13.7, UNSTATED, "002", "CNN-M: 13.7%"),
    Result("cnn_m_2048", None, 13.5, UNSTATED, "002", "CNN M 2048 135", POINTS),
    Result("cnn_s", None, 13.1, UNSTATED, "002", "the CNN-S achieved a top-5 error rate of 13.1%"),
    Result("nin_imagenet", 39.2, None, UNSTATED, "002", "NIN 7.5 Million (29 Megabytes) | 39.2% (Top 1)"),
    Result("vgg_a", 29.6, 10.4, SCALE, "002", "A 256 256 29.6 10.4"),
    Result("vgg_a_lrn", 29.7, 10.5, SCALE, "002", "A-LRN 256 256 297 105", POINTS),
    Result("vgg_b", 28.7, 9.9, SCALE, "002", "B 256 256 28.7 9.9"),
    Result("vgg_c", 28.1, 9.4, SCALE, "002", "256 256 28.1 9.4"),
    Result("vgg_c", 28.1, 9.3, SCALE, "002", "C 384 384 28.1 9.3", "trained at 384 pixels"),
    Result("vgg_d", 27.0, 8.8, SCALE, "000", "VGG16 27.00 8.80"),
    Result("vgg_d", 26.8, 8.7, SCALE, "002", "384 384 26.8 8.7", "trained at 384 pixels"),
    Result("vgg_d", 25.6, 8.1, SCALE, "002", "[256.512] 384 25.6 8.1", "trained at 256 to 512 pixels"),
    Result("vgg_d", 24.8, 7.5, SCALES, "002", "[256; 512] | 256,384,512 248 7.5", POINTS),
    Result("vgg_e", 27.3, 9.0, SCALE, "000", "VGG19 27.30 9.00"),
    Result("vgg_e", 26.9, 8.7, SCALE, "002", "384 384 26.9 8.7", "trained at 384 pixels"),
    Result("vgg_e", 24.8, 7.5, SCALES, "002", "[256; 512] | 256384512 248 7.5", POINTS),
    Result("googlenet", None, 9.15, "10 crops", "002", "Classification top-5 error: 9.33, 9.15",
           "the deck names VGG and GoogLeNet; the paper has it for one network and ten crops"),
    Result("bn_inception", 25.2, 7.8, CROP, "002", "BN-Inception [6] 25.2% 7.8%"),
    Result("inception_v3", 21.2, 5.6, CROP, "002", "Inception-v3 [15] 21.2% 5.6%"),
    Result("inception_v3", 18.9, 4.3, CROPS, "002", "Inception-v3 [15] 144 18.9% 4.3%"),
    Result("inception_v4", 20.0, 5.0, CROP, "002", "Inception-v4 20.0% 5.0%"),
    Result("inception_v4", 17.7, 3.8, CROPS, "002", "Inception-v4 144 17.7% 3.8%"),
    Result("inception_resnet_v1", 21.3, 5.5, CROP, "002", "Inception-ResNet-v1 21.3% 5.5%"),
    Result("inception_resnet_v1", 18.8, 4.3, CROPS, "002", "Inception-ResNet-v1 144 18.8% 4.3%"),
    Result("inception_resnet_v2_paper", 19.9, 4.9, CROP, "002", "Inception-ResNet-v2 19.9% 4.9%"),
    Result("inception_resnet_v2_paper", 17.8, 3.7, CROPS, "002", "Inception-ResNet-v2 144 17.8% 3.7%"),
    Result("plain34", 28.54, 10.02, "10 crops", "000", "Plain 34 28.54 10.02"),
    Result("resnet34", 26.73, 8.74, CROP, "000", "ResNet 34 26.73 8.74"),
    Result("resnet50", 24.60, 7.70, CROP, "000", "ResNet 50 24.60 7.70"),
    Result("resnet101", 23.40, 7.00, CROP, "000", "ResNet 101 23.40 7.00"),
    Result("resnet152", 19.4, 4.5, SCALES, "002", "ResNet-151 [5] dense 19.4% 4.5%",
           "there is no ResNet-151; \"dense\" is the whole picture at several scales"),
    Result("resnet152", None, 4.49, SCALES, "002", "Top-5: 4.49"),
    Result("inception_resnet_v2_paper", None, 3.1, ENSEMBLE, "002", "Top-5: 3.1", "with an Inception-v4"),
]  # fmt: skip
"""ILSVRC-2012, errors on the validation set, a network's lines beginning with the one to compare with the others'."""

CIFAR10 = [
    Result(network, error, None, PLAIN, "000", words)
    for network, error, words in (
        ("allcnn_model_a", 12.47, "Model A 12.47%"),
        ("strided_cnn_a", 13.46, "Strided-CNN-A 13.46%"),
        ("convpool_cnn_a", 10.21, "ConvPool-CNN-A 10.21%"),
        ("all_cnn_a", 10.30, "ALL-CNN-A 10.30%"),
        ("allcnn_model_b", 10.20, "Model B 10.20%"),
        ("strided_cnn_b", 10.98, "Strided-CNN-B 10.98%"),
        ("convpool_cnn_b", 9.33, "ConvPool-CNN-B 9.33%"),
        ("all_cnn_b", 9.10, "ALL-CNN-B 9.10%"),
        ("allcnn_model_c", 9.74, "Model C 9.74%"),
        ("strided_cnn_c", 10.19, "Strided-CNN-C 10.19%"),
        ("convpool_cnn_c", 9.31, "ConvPool-CNN-C 9.31%"),
        ("all_cnn_c", 9.08, "ALL-CNN-C 9.08%"),
    )
]
"""CIFAR-10, errors on the test set."""


class Winner(NamedTuple):
    """An entry of the ImageNet challenge (ILSVRC), as the decks' chart of the winners shows it."""

    year: int
    name: str
    network: str | None
    """Its name in the zoo; None for what came before convolutional networks."""
    top5: float
    """Per cent, on the test set."""
    deck: str
    words: str
    """What the deck's text says of the error. The chart itself is a picture: its text has only the numbers."""


WINNERS = [
    Winner(2010, "shallow features", None, 28.2, "002", "28.2"),
    Winner(2012, "AlexNet", "alexnet", 16.4, "002", "16.4"),
    Winner(2013, "ZF / Clarifai", "clarifai", 11.2, "003", "11.2% top 5 error in ILSVRC 2013"),
    Winner(2014, "VGG-19", "vgg_e", 7.3, "003", "7.3% top 5 error"),
    Winner(2014, "GoogLeNet", "googlenet", 6.7, "002", "6.7 7.3"),
    Winner(2015, "ResNet-152", "resnet152", 3.57, "002", "3.57"),
]
"""Of 2011 no deck's text has a number (the chart's own was lost). VGG came second in 2014, behind GoogLeNet."""


def compared(metric: str, protocols: tuple[str, ...] = SINGLE) -> list[Result]:
    """Of each ImageNet network the first line with the metric, "top1" or "top5", under one of the protocols."""
    first: dict[str, Result] = {}
    for result in IMAGENET:
        if getattr(result, metric) is not None and result.protocol in protocols:
            first.setdefault(result.network, result)
    return list(first.values())
