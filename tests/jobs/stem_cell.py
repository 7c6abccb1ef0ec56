"""Runs jobs in processes of their own without loading the libraries each time: it has loaded them, and forks.

Reads lines of JSON: {"argv": …, "environment": …} starts a job and is answered with its process id; {"wait": id} is
answered with how it ended, once it has.
"""

import json
import os
import sys

from training import job, job_ranks, job_refusals

assert job_ranks
assert job_refusals


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            answer(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]))
        elif child := os.fork():
            answer(child)
        else:
            os.environ.update(asked["environment"])
            os.dup2(2, 1)
            os._exit(job.main(asked["argv"]))
