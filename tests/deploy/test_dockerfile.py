"""The Dockerfile: its steps can be, and give an hpsearch that runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest
from compose_file import ROOT, dockerfile, dockerfile_steps, read_compose


def test_it_is_of_one_version_and_not_of_root() -> None:
    (base,) = dockerfile_steps("FROM")
    assert re.fullmatch(r"python:3\.1\d\.\d+-slim-\w+", base)
    users = dockerfile_steps("USER")
    assert users == ["hpsearch"]
    names = [name for name, _ in dockerfile()]
    assert names.index("USER") > max(n for n, name in enumerate(names) if name == "RUN")


def test_all_packages_have_the_versions_of_the_constraints() -> None:
    installs = [step for step in dockerfile_steps("RUN") if "pip install" in step]
    assert len(installs) == 2
    assert all("--constraint constraints.txt ." in step for step in installs)


def test_what_it_copies_is_there_and_no_more_gets_in() -> None:
    copied = {source for step in dockerfile_steps("COPY") for source in step.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    ignored, *kept = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert ignored == "*"
    assert {line[1:] for line in kept if line.startswith("!")} == copied
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert packages <= copied


def test_folders_that_are_volumes_belong_to_its_user() -> None:
    (made,) = [step for step in dockerfile_steps("RUN") if "install --directory" in step]
    assert "--owner hpsearch" in made
    services = read_compose()["services"].values()
    mounted = {
        volume.split(":")[1]
        for service in services
        if "build" in service
        for volume in service.get("volumes", [])
        if not volume.endswith(":ro")
    }
    assert mounted == {word for word in made.split() if word.startswith("/var/lib/hpsearch/")}


@pytest.mark.slow  # it installs 2 GB
def test_its_steps_make_an_hpsearch_that_runs(tmp_path: Path) -> None:
    image = Image(tmp_path)
    for name, argument in dockerfile():
        image.step(name, argument)
    (entrypoint,) = dockerfile_steps("ENTRYPOINT")
    assert image.says(*entrypoint, "--version").startswith("hpsearch, version")
    url = f"sqlite:///{tmp_path / 'search.db'}"
    image.says(*entrypoint, "db", "upgrade", "--db", url)
    assert "MEND" not in image.says(*entrypoint, "doctor", "--db", url)
    few = ["coarse.trials=12", "fine.trials=8", "fine.continue=2", "confirm.top=1"]
    changes = [word for change in few for word in ("--set", f"stages.{change}")]
    image.says(*entrypoint, "run", "digits", "--ray", "none", *changes, "--db", url)
    assert image.says(*entrypoint, "best", "digits", "--db", url)
    assert "--num-cpus" in image.says("ray", "start", "--help")
    with pytest.raises(subprocess.CalledProcessError):
        image.says("python", "-c", "import pytest")  # nothing for developers is in it


class Image:
    """What a Dockerfile makes, in a folder, with a virtual environment in place of the image's."""

    def __init__(self, folder: Path) -> None:
        self._root, self._workdir = folder / "root", folder / "root"
        venv.create(folder / "venv", with_pip=True)
        self._environment = {
            "PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            **{key: value for key, value in os.environ.items() if key.startswith("PIP_")},
        }

    def step(self, name: str, argument: str) -> None:
        """Do what the instruction says, where it can be done outside of an image."""
        if name == "WORKDIR":
            self._workdir = self._inside(argument)
            self._workdir.mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            *sources, target = argument.split()
            for source in sources:
                self._copy(ROOT / source, self._inside(target))
        elif name == "RUN" and argument.startswith("pip "):
            self.says("sh", "-c", argument)

    def says(self, *command: str) -> str:
        """Its output; raises CalledProcessError if it fails."""
        program = shutil.which(command[0], path=self._environment["PATH"])
        assert program is not None, command[0]
        done = subprocess.run(
            [program, *command[1:]],
            cwd=self._workdir,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def _inside(self, path: str) -> Path:
        return self._root / path[1:] if path.startswith("/") else self._workdir / path

    def _copy(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / source.name if target.is_dir() else target)
