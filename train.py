"""Train one ECG model on PTB-XL, or a sweep of them.

    python train.py experiment=demo model=vit                         a small run on synthetic ECGs
    python train.py data=ptbxl data.root=DIR model=effnetv2           PTB-XL's official folds
    python train.py -m model=vit,deit,effnetv2,convnext seed=1,2,3    a sweep, ranked at its end
    python train.py train=false ckpt_path=FILE data=ptbxl data.root=DIR

All settings: python train.py --help
"""

from ecg_lightning.system import stopping


def main() -> None:
    """Import what takes long only once signals are answered."""
    from ecg_lightning.text import print_every_sign

    print_every_sign()
    from ecg_lightning.commands.launching import train

    train()


if __name__ == "__main__":
    stopping.run_stoppable(main)
