"""Prune, quantize, distil and export a trained model, and measure what each step gives.

    python compress.py ckpt_path=RUN/checkpoints/best.ckpt compression=prune_qat
    python compress.py -m ckpt_path=FILE compression=none,bf16,prune,ptq,qat,prune_qat
    python compress.py ckpt_path=FILE compression=prune compression.stages.prune.amount=0.5

All settings: python compress.py --help
"""

from ecg_lightning.system import stopping


def main() -> None:
    """Import what takes long only once signals are answered."""
    from ecg_lightning.text import print_every_sign

    print_every_sign()
    from ecg_lightning.commands.launching import compress

    compress()


if __name__ == "__main__":
    stopping.run_stoppable(main)
