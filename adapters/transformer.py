"""`nn.TransformerEncoder` and its layers without torch's fused kernel, so that every operation is a layer."""

from __future__ import annotations

from torch import Tensor, nn

from netlens.flat.adapter import rewrite


class EncoderLayer(nn.Module):
    """`nn.TransformerEncoderLayer` as torch runs it with gradients. Its fused kernel rounds differently."""

    self_attn: nn.Module
    linear1: nn.Module
    linear2: nn.Module
    norm1: nn.Module
    norm2: nn.Module
    dropout: nn.Module
    dropout1: nn.Module
    dropout2: nn.Module

    def __init__(self, source: nn.TransformerEncoderLayer) -> None:
        super().__init__()
        self._modules.update(source._modules)
        self.activation = source.activation
        self.norm_first = source.norm_first

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,  # only a hint about src_mask
    ) -> Tensor:
        if self.norm_first:
            x = src + self._attended(self.norm1(src), src_mask, src_key_padding_mask)
            return x + self._fed(self.norm2(x))
        x = self.norm1(src + self._attended(src, src_mask, src_key_padding_mask))
        output: Tensor = self.norm2(x + self._fed(x))
        return output

    def _attended(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        mixed, _ = self.self_attn(x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=mask)
        dropped: Tensor = self.dropout1(mixed)
        return dropped

    def _fed(self, x: Tensor) -> Tensor:
        dropped: Tensor = self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))
        return dropped


class Encoder(nn.Module):
    """`nn.TransformerEncoder` as a sequence of layers. The fused kernel sets outputs at padding to 0."""

    def __init__(self, source: nn.TransformerEncoder) -> None:
        super().__init__()
        self.layers = source.layers
        self.norm = source.norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,  # only a hint about mask
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


rewrite("torch.nn.modules.transformer.TransformerEncoderLayer")(EncoderLayer)
rewrite("torch.nn.modules.transformer.TransformerEncoder")(Encoder)
