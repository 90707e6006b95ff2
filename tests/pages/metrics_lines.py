"""Lines of metrics.jsonl, as a training of two epochs writes them."""


def train_lines(num: int = 6, terms: tuple[str, ...] = ("rotation", "invariance", "instance")):
    return [
        {
            "kind": "train",
            "step": 10 * i + 9,
            "epoch": i // 3,
            "learning_rate": 0.05,
            "loss": 8.0 - i,
            **dict.fromkeys(terms, 2.0 / (i + 1)),
            **({"rotation_accuracy": 0.25 + 0.1 * i} if "rotation" in terms else {}),
            "images_per_s": 400.0 + i,
            "elapsed_s": 1.5 * (i + 1),
        }
        for i in range(num)
    ]


def diagnostics_lines():
    """Diagnostics after each of two epochs."""
    return [
        {
            "kind": "diagnostics",
            "step": 30 * epoch - 1,
            "epoch": epoch,
            "rotation_accuracy": 0.4 * epoch,
            "rotation_loss": 1.2 / epoch,
            "leakage_same_head": 0.25,
            "leakage_same_head_loss": 1.5,
            "leakage_fresh_head": 0.5 - 0.1 * epoch,
            "spread": 0.9,
            "effective_rank": 5.0,
            "elapsed_s": 3.0 * epoch,
        }
        for epoch in (1, 2)
    ]
