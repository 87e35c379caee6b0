"""Settings of the hardware, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from ecg_lightning.components.setting import setting


@dataclass
class HardwareConfig:
    """Where and how a model runs, see `hardware.device.prepare`."""

    accelerator: str = setting("cpu", "processor, or one NVIDIA GPU", choices=("cpu", "cuda"))
    devices: int = setting(1, "number of devices; this version trains on one", min=1)
    strategy: str = setting("auto", "Lightning's strategy")
    precision: str = setting(
        "auto",
        "auto: bfloat16 where the processor has it in hardware, else float32",
        choices=("auto", "32-true", "bf16-mixed"),
    )
    threads: int | None = setting(
        None, "PyTorch's threads; null: a training on the CPU times one and all, and uses the faster", min=1
    )
    channels_last: bool = setting(True, "whether images keep their channels together in memory")
    compile: bool = setting(False, "whether torch.compile is applied to the network")
