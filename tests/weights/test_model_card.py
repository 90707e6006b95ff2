from __future__ import annotations

from pathlib import Path

import pytest
import torch

from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.methods.build import build_network
from quarterturn.presets.unlabelled import digits
from quarterturn.runs import Imported, Run
from quarterturn.runs.records import Score, Statistic
from quarterturn.weights.check import Difference, Exported
from quarterturn.weights.model_card import MARK, model_card
from tests.fixtures.probes import PROTOCOL, probe_result

EXPORTED = Exported(
    ("x.onnx",), "onnxruntime 9", (Difference("fc|7", 2e-6, 1.25e-7),), "import x\na\nb", ("Mind.",)
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = digits().with_settings(epochs=40)
    run = Run(tmp_path / "run", str(tmp_path / "albums" / "photos"), config, "cafe")
    run.create()
    state = build_network(config).state_dict()
    save_checkpoint(run.checkpoint, {"network": state, "epochs_done": 12.5})
    return run


def test_a_card_says_what_the_weights_are(run: Run, tmp_path: Path) -> None:
    card = model_card(run, run.load_network(), EXPORTED, weights="beef", licence="CC BY 4.0")
    assert card.startswith("# convnet: rotation feature decoupling\n")
    for line in [
        "| network | convnet, 256 features; layers conv1, conv2, conv3, fc |",
        "| parts | rotation half: features 0 to 127; invariant half: 128 to 255 |",
        "| heads | rotation head, embedding head |",
        "| epochs | 12.5 of 40 |",
        "| learned from | albums-photos |",
        "| fingerprint of the images | cafe |",
        "| fingerprint of the weights | beef |",
        "| crop | the centre square of 1 of the short side |",
        "| licence | CC BY 4.0 |",
        "```python\nimport x\na\nb\n```",
        "Mind.",
        r"| fc\|7 | 2e-06 | 1.2e-07 |",
        "None has been made.",
    ]:
        assert f"\n{line}\n" in card, line
    assert "mean 0.305, 0.305, 0.305" in card
    assert card.endswith(f"{MARK}\n")
    assert str(tmp_path) not in card


def test_without_a_licence_and_of_imported_weights(tmp_path: Path) -> None:
    config = digits().with_settings(method="imported", epochs=0)
    imported = Imported("resnet18.pth", "0" * 64, "torchvision's resnet18", ())
    run = Run(tmp_path / "run", None, config, None, "import", imported=imported)
    run.create()
    state = build_network(config).state_dict()
    save_checkpoint(run.checkpoint, {"network": state, "epochs_done": 0.0})
    card = model_card(run, run.load_network(), EXPORTED, weights="beef")
    assert "| licence | not stated; ask whoever trained the weights |" in card
    assert "| epochs | not known |" in card
    assert "| learned from | not known |" in card
    assert "| heads | none |" in card
    assert "| parts | the features as a whole |" in card
    assert f"| imported from | resnet18.pth (torchvision's resnet18; sha256 {'0' * 64}) |" in card


def test_probes_stand_in_the_card(run: Run) -> None:
    measures = {"top1": Statistic(0.931, 0.01), "balanced": Statistic(0.92, 0.01)}
    score = Score("trained", "invariant", "knn-20", "upright", measures)
    result = probe_result(score, protocol={**PROTOCOL, "seeds": [0, 1, 2]})
    card = model_card(run, run.load_network(), EXPORTED, weights="beef", probes=[result])
    assert "| trained: invariant | 93.1 ± 1.0 (92.0) |" in card
    assert "On digits, by frozen-features; top-1 (balanced) accuracy in %; 1,347 upright" in card
    assert "None has been made" not in card


def test_a_card_changes_no_weights(run: Run) -> None:
    network = run.load_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    model_card(run, network, EXPORTED, weights="beef")
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
