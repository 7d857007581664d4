"""A training that is interrupted on purpose, for the tests of exact resumption."""

from reproduce.training.checkpoints import last_checkpoint


def train_until(made, stop: int) -> bool:
    """Trains on from the newest checkpoint, if there is one; interrupted where the RL step after `stop` is recorded.

    Returns whether it was: False when the training has no step after `stop`.
    """
    write, checkpoint = made.run.write_step, last_checkpoint(made.run.checkpoints)

    def write_step(step, *args):
        if step > stop:
            raise KeyboardInterrupt
        write(step, *args)

    made.run.write_step = write_step
    try:
        made.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except KeyboardInterrupt:
        return True
    return False
