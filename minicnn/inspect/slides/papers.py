"""What papers print and no code can find out: where they appeared, how their networks were trained.

Kept apart from the claims, so that no claim stands beside its own answer.
"""

PAPERS: dict[str, dict[str, str]] = {
    "all_cnn": {"venue": "ICLR 2015"},
    "alexnet": {
        "venue": "NIPS 2012",
        # of its eight layers, as the paper lists them; the first is 55*48*96
        "neurons": "253440, 186624, 64896, 64896, 43264, 4096, 4096, 1000",
    },
    "bn_inception": {"learning rate of Inception": "0.0015"},
    "resnet": {"weight decay": "1e-4"},
}
