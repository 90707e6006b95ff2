"""Over which images batch norm takes its statistics, where several processes share a batch."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config


def check_device(config: Config, runtime: Runtime) -> None:
    """Refuse to synchronise batch norm where PyTorch cannot.

    Raises:
        ConfigError: ``sync_batch_norm`` is set, and the device is no GPU.
    """
    if config.run.sync_batch_norm and runtime.device.type != "cuda":
        raise ConfigError(
            f"--sync-batch-norm needs NVIDIA or AMD GPUs, and the device is {runtime.device}: "
            "leave it out"
        )


def synchronise(network: Network) -> None:
    """Let every batch norm take its statistics over the images of all processes.

    Parameters, buffers and their names stay; what is frozen stays frozen.

    Args:
        network: Changed in place.
    """
    names = {module: name for name, module in network.named_modules()}
    frozen = [names[module] for module in network.frozen]
    if any(type(module).__module__.startswith("timm.") for module in names):
        from timm.layers import convert_sync_batchnorm  # its batch norms have an activation within

        convert_sync_batchnorm(network)
    else:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    converted = dict(network.named_modules())
    network.frozen = [converted[name] for name in frozen]


def statistics_words(network: nn.Module, config: Config, processes: int) -> str:
    """Over what batch norm takes its statistics, for the user; empty where there is but one way.

    Args:
        network: What is trained.
        config: All settings.
        processes: That share each batch.
    """
    asked = config.run.sync_batch_norm
    if processes == 1:
        return "--sync-batch-norm has no effect in one process" if asked else ""
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return "--sync-batch-norm has no effect: the network has no batch norm" if asked else ""
    if asked:
        return f"{processes} processes: batch norm takes its statistics over the whole batch"
    return (
        f"{processes} processes: batch norm takes its statistics over each one's own "
        f"{config.run.batch_size // processes} images of a batch, so losses differ from those of "
        "one process; --sync-batch-norm (GPUs) takes them over the whole batch"
    )
