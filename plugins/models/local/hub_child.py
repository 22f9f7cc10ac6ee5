"""What is asked of the Hugging Face hub, each as a program: `python -m … QUESTION ARGUMENTS…`.

Run by `download.py` in a child process, so that it can be given up on, and so that huggingface_hub
reads the user's settings (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, …) afresh. Prints one JSON value; an
error is its last line on stderr.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of a repository, only what transformers needs to load safetensors weights and a tokenizer; left out are
# other formats of the same weights.
_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
_LEFT_OUT = ["*/*", "consolidated*"]


def probe(repo: str, file: str, revision: str) -> dict[str, object]:
    """Is the file there? Its size in bytes and its etag, which for large files is their sha256."""
    hub = _hub()
    found = hub.get_hf_file_metadata(hub.hf_hub_url(repo, file, revision=revision), timeout=3)
    return {"bytes": found.size, "etag": found.etag}


def file(repo: str, file: str, revision: str, folder: str) -> str:
    """Download one file under `folder`; its path."""
    return str(_hub().hf_hub_download(repo, file, revision=revision, local_dir=folder))


def plan(repo: str, revision: str) -> dict[str, object]:
    """How many bytes a snapshot would download, and the folder that they would go to."""
    files = snapshot_of(repo, revision, dry_run=True)
    cache = Path(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)
    return {
        "bytes": sum(one.file_size for one in files if one.will_download),
        "folder": str(cache / f"models--{repo.replace('/', '--')}"),
    }


def snapshot(repo: str, revision: str) -> str:
    """Download a repository's model to the hub's own cache; the folder it is in."""
    return str(snapshot_of(repo, revision))


def snapshot_of(repo: str, revision: str, **options: bool) -> Any:
    """`snapshot_download` of what we use of a repository; `revision` "" is the default branch."""
    return _hub().snapshot_download(
        repo,
        revision=revision or None,
        allow_patterns=_WANTED,
        ignore_patterns=_LEFT_OUT,
        **options,
    )


def _hub() -> Any:
    """huggingface_hub; Any, since its own types are incomplete."""
    return importlib.import_module("huggingface_hub")


def main(arguments: list[str]) -> int:
    """Answer one question; 0, or 1 with the reason as the last line of stderr."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read when huggingface_hub is imported, below
    questions: dict[str, Callable[..., object]] = {
        "probe": probe,
        "file": file,
        "plan": plan,
        "snapshot": snapshot,
    }
    try:
        answer = questions[arguments[0]](*arguments[1:])
    except Exception as error:  # whatever it is: the parent reports it, or has another source to try
        # A dry run hides why the repository could not be listed.
        told = (error.__cause__ if type(error).__name__ == "DryRunError" else None) or error
        print(" ".join(f"{type(told).__name__}: {told}".split()), file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
