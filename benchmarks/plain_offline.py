"""The steps of the offline stage as they are usually written, to set beside ours: one network after another, plain Adam, float32.

Sizes are the paper's (Table 5), the order of work that of the authors' release: members of an ensemble are trained in a loop, each asks all
others for their densities; both Q networks, V and the policies have optimisers of their own; AM-Q rolls one policy out at a time, through
all models, of which each row takes one elite's prediction. Losses are ours where theirs are mistaken: what is compared is time.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from learners.batches import Batch

_ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU}
ALPHA, CLIP, EXPECTILE, GAMMA, POLYAK = 0.1, 0.25, 0.7, 0.99, 0.005


def network(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with the activation between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


class Policy(nn.Module):
    """A Gaussian of one network."""

    def __init__(self, sizes: Sequence[int], activation: type[nn.Module]) -> None:
        super().__init__()
        self.mean, self.log_std = network(sizes, activation), nn.Parameter(torch.zeros(sizes[-1]))

    def distribution(self, observations: Tensor) -> torch.distributions.Normal:
        """Of the actions in (B, O)."""
        return torch.distributions.Normal(self.mean(observations), self.log_std.exp())

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """(B,)."""
        densities: Tensor = self.distribution(observations).log_prob(actions)
        return densities.sum(-1)


class Plain:
    """All networks and optimisers of a run."""

    def __init__(
        self, observation_size: int, action_size: int, history: int, hidden: Sequence[int], activation: str, model_hidden: Sequence[int],
        models: int,
    ) -> None:  # fmt: skip
        policy = (observation_size, *hidden, action_size)
        self.policies = [Policy(policy, _ACTIVATIONS[activation]) for _ in range(4)]
        self.behavior = copy.deepcopy(self.policies)
        self.q = [network((observation_size + action_size, 1024, 1024, 1)) for _ in range(2)]
        self.q_target = copy.deepcopy(self.q)
        self.v = network((observation_size, 256, 256, 256, 1))
        frame = observation_size // history
        self.models = [network((observation_size + action_size, *model_hidden, 2 * (frame + 1) + 1)) for _ in range(models)]
        self.frame = frame
        self.policy_optimisers = [torch.optim.Adam(policy.parameters(), lr=1e-4) for policy in self.policies]
        self.q_optimiser = torch.optim.Adam([parameter for q in self.q for parameter in q.parameters()], lr=1e-4)
        self.v_optimiser = torch.optim.Adam(self.v.parameters(), lr=1e-4)
        self.model_optimiser = torch.optim.Adam([parameter for model in self.models for parameter in model.parameters()], lr=3e-4)

    def _apart(self, index: int, observations: Tensor, actions: Tensor, own: Tensor) -> Tensor:
        others = [policy.log_prob(observations, actions) for other, policy in enumerate(self.policies) if other != index]
        return own - torch.stack([own, *others]).amax(0)

    def clone(self, batch: Batch) -> None:
        """A step of eq. 6 for every member."""
        for index, (policy, optimiser) in enumerate(zip(self.policies, self.policy_optimisers, strict=True)):
            own = policy.log_prob(batch.observations, batch.actions)
            loss = -(own + ALPHA * self._apart(index, batch.observations, batch.actions, own)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def critics(self, batch: Batch) -> None:
        """A step of eqs. 2 and 3."""
        inputs = torch.cat([batch.observations, batch.actions], -1)
        with torch.no_grad():
            target = torch.minimum(*(q(inputs) for q in self.q_target))
        difference = target - self.v(batch.observations)
        loss = (torch.where(difference < 0, 1 - EXPECTILE, EXPECTILE) * difference**2).mean()
        self.v_optimiser.zero_grad()
        loss.backward()
        self.v_optimiser.step()
        with torch.no_grad():
            wanted = batch.rewards[:, None] + GAMMA * (1 - batch.terminated[:, None]) * self.v(batch.next_observations)
        q_loss = sum((functional.mse_loss(q(inputs), wanted) for q in self.q), torch.zeros(()))
        self.q_optimiser.zero_grad()
        q_loss.backward()
        self.q_optimiser.step()
        with torch.no_grad():
            for q, q_target in zip(self.q, self.q_target, strict=True):
                for source, follower in zip(q.parameters(), q_target.parameters(), strict=True):
                    follower.copy_(POLYAK * source + (1 - POLYAK) * follower)

    def dynamics(self, batch: Batch) -> None:
        """A step of eq. 5 for every model."""
        inputs = torch.cat([batch.observations, batch.actions], -1)
        change = batch.next_observations[:, -self.frame :] - batch.observations[:, -self.frame :]
        wanted = torch.cat([change, batch.rewards[:, None]], -1)
        loss = torch.zeros(())
        for model in self.models:
            mean, log_std, logit = model(inputs).split([self.frame + 1, self.frame + 1, 1], -1)
            log_std = log_std.clamp(-5, 1)
            loss = loss + (0.5 * ((wanted - mean) * torch.exp(-log_std)) ** 2 + log_std).mean()
            loss = loss + functional.binary_cross_entropy_with_logits(logit[:, 0], batch.terminated)
        self.model_optimiser.zero_grad()
        loss.backward()
        self.model_optimiser.step()

    def improve(self, batch: Batch) -> None:
        """A step of eq. 7 for every member."""
        for index, (policy, optimiser) in enumerate(zip(self.policies, self.policy_optimisers, strict=True)):
            with torch.no_grad():
                before = self.behavior[index].distribution(batch.observations)
                actions = before.sample()
                old = before.log_prob(actions).sum(-1)
                inputs = torch.cat([batch.observations, actions.clamp(-1, 1)], -1)
                advantages = (torch.minimum(*(q(inputs) for q in self.q)) - self.v(batch.observations))[:, 0]
                advantages = (advantages - advantages.mean()) / advantages.std()
            own = policy.log_prob(batch.observations, actions)
            ratio = torch.exp(own - old)
            surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages)
            loss = -(surrogate + ALPHA * self._apart(index, batch.observations, actions, own)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    @torch.no_grad()
    def amq(self, states: Tensor, horizon: int, elites: int) -> float:
        """Definition 1 of one policy from (B, O)."""
        total = torch.zeros(len(states))
        rows = torch.arange(len(states))
        for _ in range(horizon):
            actions = self.policies[0].distribution(states).sample().clamp(-1, 1)
            inputs = torch.cat([states, actions], -1)
            total += torch.minimum(*(q(inputs) for q in self.q))[:, 0]
            outputs = torch.stack([model(inputs) for model in self.models])
            mean, log_std, _ = outputs[torch.randint(elites, (len(states),)), rows].split([self.frame + 1, self.frame + 1, 1], -1)
            change = mean + torch.exp(log_std.clamp(-5, 1)) * torch.randn_like(mean)
            newest = (states[:, -self.frame :] + change[:, :-1]).clamp(-5, 5)
            states = torch.cat([states[:, self.frame :], newest], -1)
        return float(total.mean())
