"""What stands in for vLLM where it is not installed: the same interface, sampling by full forward passes."""

import torch

from reproduce.rollouts.engines.vllm_engine import Request, Segment
from reproduce.rollouts.engines.weights import named_weights, version_of


class ForwardSampler:
    """A `Sampler` on a copy of the model, which only `load` changes. A step samples one token for every request."""

    def __init__(self, model, top_logprobs):
        self.model = type(model)(model.config).eval()  # no copy: TRL binds a forward to the object
        self.vocabulary = model.config.vocab_size
        self.top_logprobs = min(top_logprobs, self.vocabulary)
        self.open, self.seeds, self.loads, self.aborted, self.broken = {}, [], 0, 0, False
        self._loaded, self.max_context, self.asleep = None, 512, False

    def load(self, model, always=False):
        version = version_of(model)
        if self.broken or (version == self._loaded and not always and not self.asleep):
            return 0.0
        self.asleep = False
        self.model.load_state_dict(dict(named_weights(model)))
        self.loads, self._loaded = self.loads + 1, version
        return 0.5

    def sleep(self):
        self.asleep = True

    def add(self, request: Request):
        generator = torch.Generator().manual_seed(request.seed)
        self.seeds.append(request.seed)
        self.open[request.id] = (request, generator, [], [], [])

    @torch.no_grad()
    def step(self):
        for request, generator, tokens, logps, tops in self.open.values():
            logits = self.model(input_ids=torch.tensor([[*request.tokens, *tokens]])).logits[0, -1]
            scores = torch.log_softmax(logits / (request.temperature or 1.0), -1)
            chosen = (
                int(torch.multinomial(scores.exp(), 1, generator=generator))
                if request.temperature
                else int(scores.argmax())
            )
            tokens.append(chosen)
            logps.append(float(scores[chosen]))
            tops.append(scores.topk(self.top_logprobs).values.tolist())
        over = [
            number
            for number, (request, _, tokens, _, _) in self.open.items()
            if tokens[-1] in request.stop_ids or len(tokens) == request.budget
        ]
        return [Segment(number, *self.open.pop(number)[2:], 0) for number in over]

    def abort(self):
        self.aborted += 1
        self.open.clear()

    def close(self):
        self.open.clear()
