"""What papers print and no code can find out: where they appeared, how their networks were trained.

Kept apart from the claims, so that no claim stands beside its own answer.
"""

PAPERS: dict[str, dict[str, str]] = {
    "all_cnn": {"venue": "ICLR 2015", "arxiv": "1412.6806"},
    "alexnet": {
        "venue": "NIPS 2012",
        "input": "224x224",
        # of its eight layers, as the paper lists them; the first is 55*48*96
        "neurons": "253440, 186624, 64896, 64896, 43264, 4096, 4096, 1000",
        "neurons altogether": "650,000",
        "parameters": "60 million",
    },
    "lenet5": {"activation": "Tanh"},
    "nin": {"arxiv": "1312.4400"},
    "vgg": {"arxiv": "1409.1556"},
    "googlenet": {"arxiv": "1409.4842"},
    "bn_inception": {"learning rate of Inception": "0.0015"},
    "inception_v3": {"arxiv": "1512.00567"},
    "inception_v4": {"arxiv": "1602.07261"},
    "resnet": {
        "arxiv": "1512.03385",
        "weight decay": "1e-4",
        "momentum": "0.9",
        "learning rate": "0.1",
        "batch size": "256",
        "divisor of the learning rate": "10",
    },
}
