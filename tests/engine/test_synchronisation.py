import pytest
import torch

from quarterturn.data.batches import TrainingBatches
from quarterturn.engine.loop import Training, training_step
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.methods.build import build_method
from quarterturn.methods.configuration import Config


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU computes behind one's back")
@pytest.mark.parametrize("noise", ["shared", "per-image"])
@pytest.mark.parametrize("loss", ["nce", "infonce"])
def test_neither_batches_nor_steps_wait_for_the_gpu(random_images, noise, loss):
    config = Config().with_settings(
        backbone="convnet", image_size=16, num_noise=32, noise=noise, instance_loss=loss
    )
    images = random_images(64, 20)
    runtime = Runtime("cuda", "32-true")
    method = build_method(config, len(images), device=runtime.device)
    batches = TrainingBatches(images, config.data, batch_size=16, seed=0, device=runtime.device)
    training = Training(
        method,
        batches,
        build_optimizer(method.network, config.optimizer),
        config.optimizer,
        runtime,
        Telemetry(None, total_steps=4, steps_per_epoch=4),
        epochs=1,
    )
    for number, batch in enumerate(batches.epoch(0)):
        if number == 1:  # the first step allocates, and estimates Z
            torch.cuda.set_sync_debug_mode("error")
        try:
            training_step(training, method.network, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        training.step += 1
    assert training.step == 4
