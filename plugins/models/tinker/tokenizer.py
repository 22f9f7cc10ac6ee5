"""The tokenizer of a model that runs elsewhere, and by which names model and tokenizer go in the log."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models import identity


def load(name: str) -> Any:
    """The tokenizer in a folder or of a Hugging Face id. Raises ModelUnavailable where there is none."""
    loader: Any = AutoTokenizer  # its own types say as much
    noisy = logging.getLogger("transformers")
    level, noisy.disabled = noisy.disabled, True
    try:
        tokenizer = loader.from_pretrained(
            str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = (str(error) or repr(error)).splitlines()[0]
        raise ModelUnavailable(
            f"no tokenizer for {name}: {first}. Text is made into tokens here, so it is needed here: give a "
            "folder with tokenizer.json, or a Hugging Face id, as --set model.tokenizer=…"
        ) from error
    finally:
        noisy.disabled = level
    if not getattr(tokenizer, "is_fast", False):
        raise ModelUnavailable(f"{name}: its tokenizer has no tokenizer.json, which is needed here")
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
