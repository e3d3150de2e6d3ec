"""How the small networks learn: step by step, with a moving average of the weights, which is what is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from training.train import rate_at


class Learner:
    """A network, its average and its optimizer. `how`: seed, steps, learning_rate, weight_decay and averaging."""

    def __init__(self, make: Callable[[], nn.Module], how: dict[str, Any], device: torch.device) -> None:
        torch.manual_seed(how["seed"])
        self._how = how
        self.network = make().to(device)
        self.average = copy.deepcopy(self.network).eval()
        self.step = 0
        weights = list(self.network.parameters())
        decayed = {"params": [each for each in weights if each.ndim > 1], "weight_decay": how["weight_decay"]}
        others = {"params": [each for each in weights if each.ndim <= 1], "weight_decay": 0.0}
        self._optimizer = torch.optim.AdamW([decayed, others])

    def learn(self, loss_of: Callable[[Tensor], Tensor], *inputs: Tensor) -> Tensor:
        """One step on these inputs, by the loss of the logits; returns it."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._how["learning_rate"] * rate_at(self.step / self._how["steps"])
        with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=inputs[0].is_cuda):
            logits = self.network(*inputs)
        loss = loss_of(logits.float())
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self._optimizer.step()
        self.step += 1
        part = min(self._how["averaging"], self.step / (self.step + 9))
        with torch.no_grad():
            of_both = zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True)
            for average, now in of_both:
                average.copy_(torch.lerp(now, average, part) if now.is_floating_point() else now)
        return loss.detach()

    def state(self) -> dict[str, Any]:
        parts = {"network": self.network, "average": self.average, "optimizer": self._optimizer}
        return {"step": self.step} | {name: part.state_dict() for name, part in parts.items()}

    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        for name, part in (("network", self.network), ("average", self.average), ("optimizer", self._optimizer)):
            part.load_state_dict(state[name])
