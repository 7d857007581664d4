"""One vLLM over several processes (tensor parallelism), whose steps they take together.

Each process of a group has a part of the weights, and a scheduler of its own that decides what it decides in the
others, as long as all get the same requests before the same steps. What agents ask for depends on their tools, hence on
clocks and threads. So the first process of a group runs the agents and leads: before every step it tells the others
what was asked for since the last one. They follow, until what it had to do is done.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from torch import distributed

from reproduce.errors import UserError
from reproduce.rollouts.engines.vllm_engine import Request, Sampler, Segment

T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long followers wait for the next step: tools of all paths may be slow, and a leader that ends ends them too."""
STEP, ABORT, END, FAILED = "step", "abort", "end", "failed"


class Together:
    """A `Sampler` on the part of a vLLM that this process has.

    sampler: that part; it is loaded, put to sleep and closed by every process for itself, at the same time. size:
    processes of a group, which are neighbours and divide the number of all. Every process must make it at the same
    time, in a process group of torch.
    """

    def __init__(self, sampler: Sampler, size: int):
        ranks = [list(range(first, first + size)) for first in range(0, distributed.get_world_size(), size)]
        self._group, _ = distributed.new_subgroups_by_enumeration(ranks, timeout=PATIENCE, backend="gloo")
        self._leader = distributed.get_rank() // size * size
        self.leads = distributed.get_rank() == self._leader
        self.sampler, self._new, self._led = sampler, [], False

    def __getattr__(self, name: str):
        """Everything that each process does for itself."""
        return getattr(self.sampler, name)

    def led(self, work: Callable[[], T]) -> T | None:
        """Returns `work()` in the leader; None in the others, which take the steps that it causes."""
        if not self.leads:
            return self._follow()
        self._led, said = True, (FAILED, None)
        try:
            found = work()
            said = (END, None)
            return found
        finally:
            self._led = False
            self._say(said)

    def add(self, request: Request) -> None:
        """Queues a request, in all of the group from the next step on."""
        if not self._led:
            raise RuntimeError("requests come from the work of `led`")
        self._new.append(request)
        self.sampler.add(request)

    def step(self) -> list[Segment]:
        """One forward pass of the group."""
        new, self._new = self._new, []
        self._say((STEP, new))
        return self.sampler.step()

    def abort(self) -> None:
        """Forgets all requests, in all of the group."""
        self._new = []
        self._say((ABORT, None))
        self.sampler.abort()

    def _follow(self) -> None:
        while True:
            word, new = self._heard()
            if word == END:
                return
            if word == FAILED:
                raise UserError(f"process {self._leader}, whose steps this one follows, failed; its message says why")
            if word == ABORT:
                self.sampler.abort()
                continue
            for request in new:
                self.sampler.add(request)
            self.sampler.step()

    def _say(self, said: tuple) -> None:
        distributed.broadcast_object_list([said], src=self._leader, group=self._group)

    def _heard(self) -> tuple:
        found = [None]
        distributed.broadcast_object_list(found, src=self._leader, group=self._group)
        return found[0]
