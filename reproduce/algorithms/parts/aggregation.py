"""Aggregation parts: (values_BT, mask_BT, normalizer, rows) -> scalar."""

from dataclasses import dataclass

from reproduce.objectives import aggregation


@dataclass(frozen=True)
class SequenceMean:
    """Mean over `rows` of token means; ignores `normalizer`."""

    needs = ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        return aggregation.sequence_mean(values_BT, mask_BT, rows)


@dataclass(frozen=True)
class TokenMean:
    """Sum over tokens / `normalizer`; ignores `rows`."""

    needs = ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        return aggregation.token_mean(values_BT, mask_BT, normalizer)


@dataclass(frozen=True)
class TokenSumConst:
    """Sum over tokens / (`rows` * length_constant); ignores `normalizer`.

    length_constant: in tokens; None leaves it to the run (`algorithms.run.for_run`: its longest possible completion),
    and a loss before that is refused.
    """

    length_constant: int | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        return ("length_constant",) if self.length_constant is None else ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        if self.length_constant is None:
            raise ValueError("token_sum_const: length_constant is a setting; give it to `load`, not to the loss")
        return aggregation.token_sum_const(values_BT, mask_BT, self.length_constant, rows)
