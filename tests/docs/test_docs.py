"""README and docs/ say only what is so: their keys, options and links exist, and their commands and examples run.

`sh` blocks of README, the tutorial and the how-to pages are composed in the quick lane and run, with tiny models, in
the slow one. In them DIR is a PTB-XL folder, RUN and OTHER_RUN are folders of runs, SMALL is one of a compression, and
CROSS_VALIDATION, ENSEMBLE, SWEEP and MINE are folders that an earlier command of the page wrote. ECGS is a folder of
other records, with a table of their labels. A `python` block that begins with the name of a file is this file, which
can be imported and is trusted.
"""

import dataclasses
import re
import shutil
import subprocess

import pandas as pd
import pytest
import wfdb
from omegaconf import OmegaConf
from programs import FROZEN_KEYS
from scipy.signal import resample_poly
from tiny import ROOT, SIGNAL_MODELS, TINY
from typer.testing import CliRunner

import ecg_lightning
from ecg_lightning.commands.cli import app
from ecg_lightning.config import conf_folder
from ecg_lightning.results.results import RunResult

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
NOT_RUN = ("export", "make", "pip", "source", "tensorboard", "git", "cd", "python3", "npm", "node")
"""Programs in `sh` blocks that are not this project's."""
PROGRAMS = ("python train.py", "python compress.py", "ecg-lightning")
OTHER_LANGUAGES = {"sh", "python", "text", "bash", "powershell", "js", "bibtex"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def own_files(tmp_path_factory):
    """The files that the pages' readers write."""
    folder = tmp_path_factory.mktemp("files")
    for block in (block for page in PAGES for block in blocks(page, "python")):
        if name := re.match(r"# (\w+\.py)\n", block):
            (folder / name[1]).write_text(block)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("ECG_LIGHTNING_TRUST", ",".join(path.stem for path in folder.iterdir()))
        yield


def commands(page):
    """Every line of the page's `sh` blocks, with the lines that continue it; without comments."""
    text = "".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [re.sub(r"\s{2,}", " ", re.sub(r"(^|\s)# .*", "", line)).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def program(line):
    """(`train`, `compress` or None, the arguments)."""
    for name in ("train", "compress"):
        for start in (f"python {name}.py", f"ecg-lightning {name}"):
            if line == start or line.startswith(f"{start} "):
                return name, line[len(start) :].strip()
    return None, line.removeprefix("ecg-lightning").strip()


COMPOSED = sorted(
    {
        program(line)
        for page in PAGES
        for line in [*commands(page), *re.findall(r"`(python (?:train|compress)\.py [^`]*)`", page.read_text())]
        if program(line)[0] and "--help" not in line
    }
)


def test_every_frozen_key_is_listed():
    page = (DOCS / "reference" / "settings.md").read_text()
    assert [key for key in FROZEN_KEYS if f"`{key}`" not in page] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_a_page_links_and_names_only_what_exists(page):
    text = page.read_text()
    for path in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / path).exists(), path
    for group, option in re.findall(r"`(experiment|debug|hparams_search|model|compression)=([a-z]\w+)`", text):
        assert (ROOT / "conf" / group / f"{option}.yaml").is_file(), f"{group}={option}"
    assert {*re.findall(r"^```(\w+)$", text, re.MULTILINE)} <= OTHER_LANGUAGES
    for path in re.findall(r"`((?:conf|src|tests|benchmarks|docs)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / path).exists() or "local" in path, path


def test_prose_is_wrapped_at_100_characters():
    """Code, tables, headings and lines of links alone may be longer."""
    found = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")]:
        prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        lines = re.sub(r"^[^\w\n]*(!?\[[^]]*\]\([^)]*\)\W*?)+$", "", prose, flags=re.MULTILINE).splitlines()
        found += [(page.name, line) for line in lines if len(line) > 100 and not re.match(r" *[|#]", line)]
    assert found == []


def test_every_page_of_the_docs_is_on_the_site():
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_command_is_of_a_known_program():
    found = [line for page in PAGES for line in commands(page)]
    assert [line for line in found if not line.startswith((*PROGRAMS, *NOT_RUN))] == []
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in found if line.startswith("make ")} <= {*targets}


@pytest.fixture(scope="module")
def ecgs(synthetic_root, tmp_path_factory):
    """Sixty records with labels of their own, and with codes in their headers."""
    folder = tmp_path_factory.mktemp("own") / "ECGS"
    folder.mkdir()
    table = pd.read_csv(synthetic_root / "ptbxl_database.csv")[:60]
    own = pd.DataFrame({"path": table["filename_lr"].str.rpartition("/")[2], "patient": table["patient_id"]})
    own["healthy"], own["infarct"] = (table["scp_codes"].str.contains(code) * 1 for code in ("'NORM'", "MI'"))
    own.to_csv(folder / "table.csv", index=False)
    for name in table["filename_lr"]:
        shutil.copy(f"{synthetic_root / name}.dat", folder)
        header = (synthetic_root / f"{name}.hea").read_text()
        (folder / f"{name.rpartition('/')[2]}.hea").write_text(f"{header.rstrip()}\n# Dx: 164865005\n")
    return folder


@pytest.mark.parametrize(("name", "line"), COMPOSED)
def test_every_command_composes(configure, configure_compression, name, line, synthetic_root, ecgs):
    """A sweep by its first values; of the others the options of groups must exist."""
    overrides = []
    for word in shell_words(line.replace("…", " ")):
        key, _, value = word.partition("=")
        first, *others = [value] if value.startswith(("[", "{", '"')) else value.split(",")
        for option in others if "." not in key else []:
            assert not (ROOT / "conf" / key).is_dir() or (ROOT / "conf" / key / f"{option}.yaml").is_file(), word
        if "=" in word and first and not key.startswith("hydra."):
            root = "DIR" if key == "data.root" and first != "ECGS" else first  # the tutorial makes its own
            overrides.append(f"{key}={root}".replace("DIR", str(synthetic_root)).replace("ECGS", str(ecgs)))
    {"train": configure, "compress": configure_compression}[name](*overrides)


def shell_words(line):
    """The words that a shell makes of a line."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    return [word for word in done.stdout.split("\0") if word]


@pytest.fixture(scope="module")
def products(synthetic_root, tmp_path_factory):
    """What the pages start from: two runs and a compression, made when they are first asked for."""
    folder = tmp_path_factory.mktemp("products")
    made = {}

    def make(name, command):
        if name not in made:
            made[name] = folder / name
            base = [f"data.root={synthetic_root}", f"hydra.run.dir={made[name]}"]
            if name == "SMALL":
                checkpoint = f"ckpt_path={make('RUN', command)}/checkpoints/best.ckpt"
                done = command(checkpoint, "compression=ptq", *QUICK, base[1], program="compress")
            else:
                tiny = ["model=resnet1d_wang", *TINY["resnet1d_wang"], *SHORT, f"seed={int(name == 'OTHER_RUN')}"]
                done = command("data=ptbxl", *tiny, *base, "trainer.limit_train_batches=4")
            assert done.returncode == 0, done.stderr
        return made[name]

    return make


SHORT = ["trainer.max_epochs=1", "hardware.threads=1", "logger=none", "callbacks.figures=false"]
QUICK = ["hardware.threads=1", "compression.latency.batches=[1]", "compression.latency.rounds=1"]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_a_page_runs(page, products, synthetic_root, ecgs, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, line in enumerate(commands(page)):
        if not line.startswith(PROGRAMS):
            continue
        name, arguments = program(line)
        words = shell_words(filled(arguments, products, command, synthetic_root, tmp_path).replace("ECGS", str(ecgs)))
        if name is None:
            done = CliRunner().invoke(app, shortened(words))
            code, said = done.exit_code, done.output
        else:
            done = command(*tiny(name, words, tmp_path / str(number)), program=name)
            code, said = done.returncode, done.stderr
        assert code == 0, f"{line}: {said}"
        for checkpoint in tmp_path.glob("[0-9]*/**/*.ckpt"):
            checkpoint.unlink()  # of full-size models


def filled(line, products, command, synthetic_root, tmp_path):
    """The line with folders in place of its placeholders."""
    line = re.sub(r"\bRUN/variants/", "SMALL/variants/", line)
    for name in ("OTHER_RUN", "RUN", "SMALL"):
        if re.search(rf"\b{name}\b", line):
            line = re.sub(rf"\b{name}\b", str(products(name, command)), line)
    line = re.sub(r"\b(CROSS_VALIDATION|ENSEMBLE|SWEEP|MINE)\b", rf"{tmp_path}/\1", line)
    if "RECORDING.csv" in line:
        signals, about = wfdb.rdsamp(f"{synthetic_root}/records100/00000/00001_lr")
        table = pd.DataFrame(resample_poly(1000 * signals, 5, 1), columns=about["sig_name"])
        table.to_csv(tmp_path / "RECORDING.csv", index=False)
        line = line.replace("RECORDING.csv", f"{tmp_path}/RECORDING.csv")
    line = re.sub(r"\bDIR\b", str(synthetic_root), line)
    return re.sub(r"\bFILE\b", f"{tmp_path}/file", re.sub(r"\bNAME\b", "quantize", line))


def tiny(name, words, folder):
    """The words of `train` or `compress` with settings that make the run short; what they set themselves stays."""
    if "--help" in words:
        return words
    given = dict(word.partition("=")[::2] for word in words if "=" in word)
    more = [*(SHORT if name == "train" else QUICK)]
    sweeps = "-m" in words or "hparams_search" in given
    if sweeps:
        words = ["seed=0,1" if word.startswith("seed=") else word for word in words]
        launched = any(key.startswith("hydra.launcher") for key in given)
        more += [] if launched or given.get("hparams_search", "").endswith("_recipe") else ["hydra/launcher=basic"]
    if given.get("hparams_search", "").endswith("_recipe"):
        more += ["hydra.sweeper.n_trials=1", "hydra/launcher=basic"]
    key = "hydra.sweep.dir" if sweeps else "hydra.run.dir"
    more += [] if key in given else [f"{key}={folder}"]
    if name == "compress" or given.get("compression", "none") not in ("none", "off"):
        more += QUICK[1:]
        more += [] if "compression.fine_tune.epochs" in given else ["compression.fine_tune.epochs=1"]
    if name == "train" and given.get("train") != "false" and "ensemble" not in given.get("model", ""):
        more += ["trainer.limit_train_batches=2"]
        models = {*models_of(given)}
        more += TINY.get(next(iter(models)), []) if len(models) == 1 and "hparams_search" not in given else []
        if given.get("frontend") == "paper":
            more += ["frontend.width=224"]
        elif not (models & {*SIGNAL_MODELS, "custom"} or "frontend.size" in given):
            more += ["frontend.size=32"]
        more += [] if given.get("data") in ("ptbxl", "folder") else ["data.n_records=100"]
        more += ["model.pretrained=false"] if "effnetv2" in given.get("experiment", "") else []
    kept = {word.partition("=")[0] for word in more}
    return [*(word for word in words if word.partition("=")[0] not in kept), *dict.fromkeys(more)]


def models_of(given):
    if "model" in given:
        return given["model"].split(",")
    experiment = OmegaConf.load(conf_folder.config_dir() / "experiment" / f"{given.get('experiment')}.yaml")
    return [experiment.for_model or "deit"]


def shortened(words):
    """The words of another command with as little work as it allows."""
    if "--seeds" in words:
        del words[words.index("--seeds") : words.index("--seeds") + 2]
    settings = [part for setting in (*SHORT, "trainer.limit_train_batches=2") for part in ("--setting", setting)]
    less = {"benchmark": ["--rounds", "1"], "evaluate": ["--resamples", "100"], "reproduce": settings}
    return words + less.get(words[0], [])


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
@pytest.mark.slow
def test_every_python_example_runs(page, products, synthetic_root, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, less in (("train", [*SHORT, "trainer.limit_train_batches=2"]), ("compress", QUICK)):
        whole = getattr(ecg_lightning, name)
        monkeypatch.setattr(ecg_lightning, name, lambda *given, whole=whole, less=less: whole(*given, *less))
    for number, example in enumerate(blocks(page, "python")):
        code = filled(example, products, command, synthetic_root, tmp_path)
        exec(compile(code, f"{page.name}, example {number + 1}", "exec"), {})


def test_the_generated_tables_of_the_reference_are_up_to_date(monkeypatch):
    """Else run: python tools/reference_pages.py."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    import reference_pages

    pages = {page: page.read_text(encoding="utf-8") for page in reference_pages.FOLDER.glob("*.md")}
    assert sum(text.count("<!-- generated: ") for text in pages.values()) == len(reference_pages.PARTS)
    for page, text in pages.items():
        assert reference_pages.written(page) == text, page


def test_the_drawing_of_the_rooms_is_up_to_date(monkeypatch):
    """Else run: python tools/architecture_drawing.py."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    import architecture_drawing

    assert architecture_drawing.FILE.read_text(encoding="utf-8") == architecture_drawing.drawing()


def test_each_field_of_a_result_is_documented():
    page = (ROOT / "docs" / "reference" / "run-folder.md").read_text(encoding="utf-8")
    section = page.partition("## Fields of `result.json`")[2].partition("### ")[0]
    fields = {entry.name for entry in dataclasses.fields(RunResult)} - {"folder"}
    assert fields <= set(re.findall(r"`(\w+)`", section))
