"""The `ecg-lightning` command: the two mains, and the commands for data, models and runs."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ecg_lightning.commands import data_commands, model_commands, paper_commands, run_commands
from ecg_lightning.errors import UserError, fail
from ecg_lightning.version import __version__


class _Commands(TyperGroup):
    """The group of commands. It prints a user's mistake as one sentence."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            fail(str(error), error.exit_code)


app = typer.Typer(
    cls=_Commands,
    help="PTB-XL ECGs to a small, fast, honestly measured classifier. Research use only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Hydra itself reads the arguments after the command, even --help.
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(context_settings=_HYDRA, help="Train a model, or several in a sweep; the same as python train.py.")
def train(context: typer.Context) -> None:
    """Run `train.py`'s main with the rest of the command line."""
    from ecg_lightning.commands import launching

    sys.argv = ["ecg-lightning train", *context.args]
    launching.train()


@app.command(context_settings=_HYDRA, help="Compress a trained model; the same as python compress.py.")
def compress(context: typer.Context) -> None:
    """Run `compress.py`'s main with the rest of the command line."""
    from ecg_lightning.commands import launching

    sys.argv = ["ecg-lightning compress", *context.args]
    launching.compress()


app.command()(model_commands.models)
app.command()(data_commands.labels)
app.command()(data_commands.synthesize)
app.command("import")(data_commands.import_)
app.command()(data_commands.verify)
app.command()(model_commands.predict)
app.command()(model_commands.benchmark)
app.command()(paper_commands.render)
app.command()(run_commands.evaluate)
app.command()(run_commands.compare)
app.command()(run_commands.reproduce)
