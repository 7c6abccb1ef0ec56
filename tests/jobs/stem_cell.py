"""Runs jobs in processes of their own without loading the libraries each time: it has loaded them, and forks.

Reads a job's arguments as a line of JSON; answers with the process id, and with how it ended once it has.
"""

import json
import os
import sys

from training import job, job_ranks, job_refusals

assert job_ranks
assert job_refusals

if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.dup2(2, 1)
            os._exit(job.main(json.loads(line)))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()
