"""The entry point of `ecg-lightning` and `python -m ecg_lightning`. Signals are handled before the slow imports."""

import atexit
import gc
import sys

from ecg_lightning.system import stopping


def main() -> None:
    """Run the command line."""
    stopping.run_stoppable(_run)


def _run() -> None:
    from ecg_lightning.commands.cli import app
    from ecg_lightning.errors import MissingPackageError, fail
    from ecg_lightning.system.installed import needing
    from ecg_lightning.text import print_every_sign

    print_every_sign()
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in ("evaluate", "compare"):  # short commands, of which garbage collection takes a fifth of the time
        gc.disable()
        atexit.register(gc.freeze)  # so that the interpreter's last search finds nothing
    try:
        with needing("compress" if command == "compress" else "train", f"ecg-lightning {command}"):
            app()
    except MissingPackageError as error:
        fail(str(error), error.exit_code)


if __name__ == "__main__":
    main()
