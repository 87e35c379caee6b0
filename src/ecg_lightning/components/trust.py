"""Code of other packages. It is imported only if the environment variable ECG_LIGHTNING_TRUST names its package.

A configuration, a checkpoint or an installed package may name code, but only the user can trust it. Nothing here
imports PyTorch.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from ecg_lightning.errors import ForeignCodeError, UntrustedCodeError
from ecg_lightning.text import explain_error, shortened

VARIABLE = "ECG_LIGHTNING_TRUST"
_REFERENCE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)
_LONGEST = 200


def trusted_packages() -> list[str]:
    """Return the top-level names of the packages whose code may run. The variable separates them with commas."""
    names = (name.strip() for name in os.environ.get(VARIABLE, "").split(","))
    return [*dict.fromkeys(name for name in names if name)]


def package_of(name: str) -> str:
    """Return the top-level package of `module`, `module:name` or `module.name`."""
    return name.partition(":")[0].partition(".")[0]


def check_package(package: str, subject: str) -> None:
    """Refuse a package that the variable does not name, without importing it.

    Args:
        package: the package's top-level name, letters and digits alone.
        subject: the setting or entry point that names the package, for the message.

    Raises:
        UntrustedCodeError: the package is not trusted, or is Python's or this project's own.
    """
    if package in sys.stdlib_module_names or package == "ecg_lightning":
        owner = "this program" if package == "ecg_lightning" else "Python"
        raise UntrustedCodeError(f"{subject}: {package} is a part of {owner}. Name code of your own package")
    if package not in (trusted := trusted_packages()):
        raise UntrustedCodeError(
            f"{subject} would run code of the package {package}, which {VARIABLE} does not name. If you trust all of "
            f"this package, run: export {VARIABLE}={','.join([*trusted, package])}"
        )


def check_reference(reference: str, key: str) -> tuple[str, str]:
    """Check `package.module:name` as far as possible without importing the package.

    Args:
        reference: the name of the code.
        key: the setting's key, for the message.

    Returns:
        The module and the name in it.

    Raises:
        UntrustedCodeError: the package is not trusted; see `check_package`.
        ForeignCodeError: the reference is misspelt, or its package is not installed.
    """
    found = _REFERENCE.fullmatch(reference) if len(reference) <= _LONGEST else None
    subject = f"{key}={reference:.{_LONGEST}}"
    if found is None:
        raise ForeignCodeError(f"{subject}: write package.module:function, as in {key}=my_network:make")
    package = package_of(reference)
    check_package(package, subject)
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        raise ForeignCodeError(_absent(subject, package))
    return found[1], found[2]


def load_reference(reference: str, key: str) -> Any:
    """Import the module of `package.module:name` and return the object of this name.

    Raises:
        UntrustedCodeError: the package is not trusted, or the object comes from another package that is not trusted.
        ForeignCodeError: the module or the name does not exist, or the module cannot be imported.
    """
    module, name = check_reference(reference, key)
    subject = f"{key}={reference}"
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise ForeignCodeError(_absent(subject, error.name)) from None
        raise ForeignCodeError(f"{subject}: {module} cannot be imported ({error}). Install what it needs") from None
    except Exception as error:  # code of others may raise anything
        raise ForeignCodeError(f"{subject}: {module} cannot be imported ({explain_foreign(error)})") from None
    if not hasattr(imported, name):
        raise ForeignCodeError(f"{subject}: the module {module} has no {name}")
    found = getattr(imported, name)
    home = str(getattr(found, "__module__", module))
    if package_of(home) not in trusted_packages():
        raise UntrustedCodeError(
            f"{subject}: {name} is defined in {shortened(home, 100)}, which {VARIABLE} does not name. Name a function "
            f"that {module} defines itself"
        )
    return found


def explain_foreign(error: Exception) -> str:
    """Return the message of an error in trusted code, and the last line of that code that led to it."""
    said = shortened(" ".join(explain_error(error).split()), 300)
    lines = [
        f"{Path(frame.f_code.co_filename).name}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if package_of(str(frame.f_globals.get("__name__"))) in trusted_packages()
    ]
    return f"{said}; {lines[-1]}" if lines else said


def _absent(subject: str, module: str) -> str:
    return (
        f"{subject}: there is no module {module}. If it is a file in this folder, run: export PYTHONPATH=. — otherwise "
        "install its package"
    )
