"""The tokenizer of a model that runs elsewhere, and by which names model and tokenizer go in the log."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models import identity

ASIDE = (
    "as Kimi's is, and is not run here. Give a folder with a tokenizer.json of the same tokens and the "
    "model's chat template: --set model.tokenizer=FOLDER"
)


def load(name: str) -> Any:
    """The tokenizer in a folder or of a Hugging Face id. Raises ModelUnavailable where there is none."""
    loader: Any = AutoTokenizer  # its own types say as much
    noisy = logging.getLogger("transformers")
    level, noisy.disabled = noisy.disabled, True
    try:
        folder = Path(name).expanduser()
        # Said, as transformers asks at the terminal else whether a stranger's code shall run.
        tokenizer = loader.from_pretrained(str(folder) if folder.is_dir() else name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        if "trust_remote_code" in str(error):
            raise ModelUnavailable(f"{name}: its tokenizer is a Python program, {ASIDE}") from error
        first = (str(error) or repr(error)).splitlines()[0]
        raise ModelUnavailable(
            f"no tokenizer for {name}: {first}. Text is made into tokens here, so it is needed here: give a "
            "folder with tokenizer.json, or a Hugging Face id, as --set model.tokenizer=…"
        ) from error
    finally:
        noisy.disabled = level
    if not getattr(tokenizer, "is_fast", False):
        raise ModelUnavailable(f"{name}: its tokenizer is a Python program, {ASIDE}")
    return tokenizer


def digest(tokenizer: Any) -> str:
    """sha256 of all that makes tokens of text."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def names(name: str, tokenizer: Any) -> tuple[str, str, str]:
    """Digests of base model, tokenizer and template.

    Of a folder that is here they are those of what it holds, as for the local model. Elsewhere weights are
    not at hand, and the base is named by its name alone.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        try:
            known = identity.measure(folder).digests
            return known.base, known.tokenizer, known.template
        except ModelUnavailable:
            pass  # a tokenizer's folder
    base = hashlib.sha256(f"tinker base model {name}".encode()).hexdigest()
    template = hashlib.sha256(str(tokenizer.chat_template or "").encode()).hexdigest()
    return base, digest(tokenizer), template


def refuse_other(name: str, own: Any, teacher: str, others: Any) -> None:
    """Raise ModelUnavailable unless a teacher reads tokens as the model does: scores are of token ids."""
    mine, its = own.get_vocab(), others.get_vocab()
    if mine == its:
        return
    differing = [word for word, token in mine.items() if its.get(word) != token]
    example = f", as {differing[0]!r}" if differing else ""
    raise ModelUnavailable(
        f"model.teacher {teacher} cannot teach {name}: of {len(mine)} tokens {len(differing)} are other ones "
        f"to it{example}. A teacher needs the same tokenizer: choose a model of the same family"
    )
