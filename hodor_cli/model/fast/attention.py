"""Soft-masked attention from few tokens to many pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hodor_cli.model.encoder import SoftMaskedAttention


class CarriedAttention(SoftMaskedAttention):
    """Soft-masked attention without computing keys and values for the pixels.

    With far fewer tokens than channels it is cheaper, with the same result, to multiply the queries by the key
    projection's weight, and to project values only after attention has averaged the pixels.
    """

    def forward(self, tokens: Tensor, pixels: Tensor, masks: Tensor) -> Tensor:
        batch, count, channels = tokens.shape
        width = channels // self.heads
        q = self.q_proj(tokens).view(batch, count, self.heads, width) / math.sqrt(width)
        key_weight = self.k_proj.weight.view(self.heads, width, -1)
        value_weight = self.v_proj.weight.view(self.heads, width, -1)

        carried = torch.einsum("bnhd,hdc->bnhc", q, key_weight).flatten(1, 2)  # (B, N * heads, C)
        if torch.is_grad_enabled():
            scores = (carried @ pixels).view(batch, count, self.heads, -1)
            # The key bias adds the same to all scores of a query, so it changes nothing; it is here for its gradient.
            scores = scores + torch.einsum("bnhd,hd->bnh", q, self.k_proj.bias.view(self.heads, width))[..., None]
            attention = self.masked_softmax(scores, masks[:, :, None], self.scaling_factors[:, None]).to(pixels.dtype)
        else:  # in one operation with the mask, so that half-precision scores are rounded only once
            penalty = self.scaling_factors[:, None].to(masks.dtype) * (masks - 1)[:, :, None]
            attention = torch.baddbmm(penalty.flatten(1, 2), carried, pixels).softmax(dim=-1)
            attention = attention.view(batch, count, self.heads, -1)

        attended = (attention.flatten(1, 2) @ pixels.transpose(1, 2)).view(batch, count, self.heads, -1)
        values = torch.einsum("bnhc,hdc->bnhd", attended, value_weight)
        # The value bias, weighted by attention that sums to one (with dropout, in expectation).
        values = values + attention.sum(dim=-1, keepdim=True) * self.v_proj.bias.view(self.heads, width)
        return self.out_proj(values.flatten(2))
