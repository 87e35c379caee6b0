"""`ecg-lightning` and `python -m ecg_lightning`: signals are answered before anything that takes long is imported."""

from ecg_lightning import stopping


def main() -> None:
    """Run the command line."""
    stopping.run_stoppable(_run)


def _run() -> None:
    from ecg_lightning.cli import app

    app()


if __name__ == "__main__":
    main()
