"""Learned tokens in a running text encoder: a tokenizer that knows them, and an embedding that has their vectors.

The prompt is where a token of n vectors becomes n: its text is replaced by n characters of Unicode's private use
area, each an added word of a copied tokenizer. Nobody types those, so they can clash with no word, and a token's
text may be anything: `<raccoon>`, `ohwx`, or a word the tokenizer already knows.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lorry.compose.part import Part
from lorry.compose.plan import title_of
from lorry.compose.swap import Swap
from lorry.errors import Conflict, Incompatible
from lorry.ir.adapter import Adapter
from lorry.ir.token import Token

_PRIVATE_USE = 0xF0000
_WRONG_END = 2

Text: TypeAlias = str | list[str]


class TextInput(NamedTuple):
    """Where a running model keeps the tokenizer of one text encoder: `owner.name`."""

    owner: Any
    name: str


class ExpandingTokenizer:
    """A tokenizer that turns each learned token's text into its words before it reads the prompt.

    Text that begins or ends with a letter or digit is only matched as a whole word. All else is the tokenizer's.
    """

    def __init__(self, tokenizer: Callable[..., Any], words: Mapping[str, str]) -> None:
        self.tokenizer = tokenizer
        self._words = words
        self._pattern = re.compile("|".join(_whole(text) for text in sorted(words, key=len, reverse=True)))

    def expand(self, text: Text) -> Text:
        """Replace learned tokens by their words, in one prompt or several."""
        if isinstance(text, list):
            return [self._replace(each) for each in text]
        return self._replace(text)

    def _replace(self, prompt: str) -> str:
        return self._pattern.sub(lambda found: self._words[found.group()], prompt)

    def __call__(self, text: Text, *args: Any, **options: Any) -> Any:  # noqa: ANN401  the tokenizer's own signature
        """Tokenize as the tokenizer does."""
        return self.tokenizer(self.expand(text), *args, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  the tokenizer's own attributes
        return getattr(self.tokenizer, name)


class TokenEmbedding(nn.Module):
    """An embedding with learned vectors for the ids from `first` on; all other rows stay in the base embedding."""

    def __init__(self, base: nn.Embedding, first: int, vectors: Tensor) -> None:
        super().__init__()
        self.base = base
        self.first = first
        self.vectors = nn.Parameter(vectors.to(base.weight.device, base.weight.dtype), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The base's rows."""
        return self.base.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Look ids of any shape up."""
        learned = ids >= self.first
        known: Tensor = self.base(ids.masked_fill(learned, 0))
        own = nn.functional.embedding((ids - self.first).clamp(min=0), self.vectors)
        return torch.where(learned.unsqueeze(-1), own, known)


def plan_tokens(adapters: Sequence[Adapter], parts: Mapping[str, Part], texts: Mapping[str, TextInput]) -> list[Swap]:
    """Return what puts the adapters' tokens into every text encoder they have vectors for.

    Raises Conflict where two adapters give one text different vectors, Incompatible for an encoder the model
    does not have and for vectors of another width than its embedding.
    """
    known: dict[str, tuple[str, Token]] = {}
    wanted: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for adapter in adapters:
        title = title_of(adapter)
        for text, token in adapter.tokens.items():
            if not text.strip():
                raise Incompatible(f"{title} has a token with no text, which no prompt could name")
            owner, same = known.setdefault(text, (title, token))
            if not _alike(token, same):
                raise Conflict(f"{owner} and {title} define the token {text!r} differently; rename it in one of them")
            for component, ref in token.vectors.items():
                vectors = ref.torch(dtype=torch.float32)
                _check(f"{title}: its token {text!r}", component, vectors, parts, texts)
                wanted[component][text] = vectors
    return [
        swap for component, vectors in wanted.items() for swap in _extend(parts[component], texts[component], vectors)
    ]


def _check(
    title: str, component: str, vectors: Tensor, parts: Mapping[str, Part], texts: Mapping[str, TextInput]
) -> None:
    if component not in texts:
        raise Incompatible(f"{title} is for {component}, and this model's text encoders are {', '.join(sorted(texts))}")
    width = _embedding(parts[component]).weight.shape[1]
    if vectors.ndim != 2 or not len(vectors) or vectors.shape[1] != width:  # noqa: PLR2004  a row a vector
        raise Incompatible(
            f"{title} has vectors of shape {list(vectors.shape)} for {component}, and this model's are {width} wide"
        )


def _alike(one: Token, other: Token) -> bool:
    return one.vectors.keys() == other.vectors.keys() and all(
        ref.same(other.vectors[name]) for name, ref in one.vectors.items()
    )


def _extend(part: Part, text_input: TextInput, tokens: Mapping[str, Tensor]) -> list[Swap]:
    from transformers import AddedToken

    original = getattr(text_input.owner, text_input.name)
    tokenizer = copy.deepcopy(original)
    vectors = torch.cat(list(tokens.values()))
    characters = [chr(_PRIVATE_USE + at) for at in range(len(vectors))]
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in characters])
    rest = iter(characters)
    words = {text: "".join(next(rest) for _ in rows) for text, rows in tokens.items()}
    first = int(tokenizer.convert_tokens_to_ids(characters[0]))
    return [
        Swap(text_input.owner, text_input.name, original, ExpandingTokenizer(tokenizer, words)),
        *(swap for each in _tied(part) for swap in part.swaps(each, TokenEmbedding(each, first, vectors))),
        *_mend_pooling(part, tokenizer.eos_token_id),
    ]


def _embedding(part: Part) -> nn.Embedding:
    encoder: Any = part.module
    embedding: nn.Embedding = encoder.get_input_embeddings()
    return embedding


def _tied(part: Part) -> list[nn.Embedding]:
    """Return every embedding over the vocabulary's rows: T5 keeps two modules around one weight."""
    rows = _embedding(part).weight
    return [each for each in part.module.modules() if isinstance(each, nn.Embedding) and each.weight is rows]


def _mend_pooling(part: Part, end: int) -> list[Swap]:
    """Let CLIP pool at the end of the prompt rather than at the largest id, which is now a learned token's.

    Published CLIP configurations say that the end-of-text id is 2; transformers then takes the largest id
    instead, which is right only as long as no token is added (transformers pull request 24773).
    """
    return [
        Swap(module, "eos_token_id", _WRONG_END, end)
        for module in part.module.modules()
        if getattr(module, "eos_token_id", None) == _WRONG_END != end
    ]


def _whole(text: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", text[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", text[-1]) else ""
    return before + re.escape(text) + after
